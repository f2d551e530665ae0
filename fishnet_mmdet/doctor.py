"""Checks whether this machine is ready to train: `python fishnet_mmdet/doctor.py`.

Every check runs on its own, so a broken package does not hide the next problem. Run as a file, the doctor needs only
Python's standard library, so it also works where `import fishnet_mmdet` fails. The exit status is 0 if a training can
run.
"""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

FAMILIES = {'mmengine': 'onedl-mmengine', 'mmcv': 'onedl-mmcv', 'mmdet': 'onedl-mmdetection'}
"""Import name and original distribution -> distribution of its maintained fork."""

FRAMEWORKS = {'mmdet': 'detectors', 'mmpretrain': 'classifiers', 'mmseg': 'segmentors'}
"""Packages of which at least one is needed -> the models that it trains."""

REBUILD_MMCV = (
    "pip install 'setuptools<81' wheel ninja psutil && MMCV_WITH_OPS=1 pip install --no-build-isolation "
    '--no-cache-dir --no-deps --force-reinstall mmcv==2.1.0'
)
MAKE_SETUP = 'run `make setup` in a clone of this repository; it installs the tested versions'

FIXES = {
    'torch': 'pip install --force-reinstall torch==2.11.0 torchvision==0.26.0',
    'torchvision': 'install both from one index: pip install --force-reinstall torch==2.11.0 torchvision==0.26.0',
    'mmengine': 'pip install mmengine==0.10.7',
    'mmcv operators': REBUILD_MMCV,
    'mmdet': 'pip install mmdet==3.3.0  (it needs mmcv from 2.0.0rc4 up to, not including, 2.2.0)',
    'mmpretrain': "pip install 'mmpretrain>=1.2,<1.3'",
    'mmseg': 'pip install mmsegmentation==1.2.2 ftfy regex',
    'pycocotools': 'pip install --force-reinstall pycocotools==2.0.11',
    'fishnet_mmdet': 'first fix what failed above; then install fishnet-mmdet again',
    'gpu': f'build mmcv with the CUDA toolkit of the installed torch: export FORCE_CUDA=1, then {REBUILD_MMCV}',
    'data': 'set COCO_ROOT=/path/to/coco for COCO 2017, or run `fishnet-mmdet demo-data`',
}
"""The fix for each check."""


@dataclass(frozen=True)
class Diagnosis:
    """The result of one check.

    Attributes:
        name: What was checked.
        state: 'ok', 'note' (a training can run without it) or 'FAIL'.
        text: What was found.
        fix: What to do; empty if nothing is wrong.
    """

    name: str
    state: str
    text: str
    fix: str = ''


def main() -> int:
    """Prints every diagnosis and whether a training can run; returns the exit status."""
    results = []
    for result in examine():
        results.append(result)
        print(f'{result.state:>5}  {result.name:<22} {result.text}')
        if result.fix:
            print(f'{"":>5}  {"":<22} fix: {result.fix}')
    failed = any(result.state == 'FAIL' for result in results)
    print(f'\n{"not ready to train" if failed else _trainable(results)}')
    return int(failed)


def examine() -> Iterator[Diagnosis]:
    """Runs every check on its own."""
    for name, check in CHECKS.items():
        try:
            yield check(name)
        # A broken installation can fail with any error.
        except Exception as error:
            lines = str(error).strip().splitlines() or ['']
            text = f'{type(error).__name__}: {lines[0][:150]}'
            yield Diagnosis(name, 'FAIL', text, FIXES.get(name, MAKE_SETUP))


def _trainable(results: list[Diagnosis]) -> str:
    """Such as "ready to train detectors and classifiers; not segmentors (mmseg is not installed)"."""
    installed = [result.name for result in results if result.name in FRAMEWORKS and result.state == 'ok']
    yes = ' and '.join(FRAMEWORKS[name] for name in installed)
    no = [f'{models} ({name} is not installed)' for name, models in FRAMEWORKS.items() if name not in installed]
    return f'ready to train {yes}' + (f'; not {" or ".join(no)}' if no else '')


def _python(name: str) -> Diagnosis:
    text = f'{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores'
    return Diagnosis(name, 'ok', text)


def _families(name: str) -> Diagnosis:
    installed = {d.metadata['Name'].lower().replace('_', '-') for d in metadata.distributions() if d.metadata['Name']}
    both = [(old, new) for old, new in FAMILIES.items() if old in installed and new in installed]
    if both:
        packages = ' '.join(part for pair in both for part in pair)
        keep = ' '.join(f'{old}=={metadata.version(old)}' for old, _ in both)
        return Diagnosis(
            name,
            'FAIL',
            f'packages that overwrite each other are installed together: {packages}',
            f'pip uninstall -y {packages} && pip install --no-build-isolation --no-cache-dir {keep}',
        )
    if 'mmcv-lite' in installed and 'mmcv' in installed:
        fix = f'pip uninstall -y mmcv-lite mmcv && {REBUILD_MMCV}'
        return Diagnosis(name, 'FAIL', 'mmcv-lite overwrites files of mmcv', fix)
    forks = sorted(set(FAMILIES.values()) & installed)
    return Diagnosis(name, 'ok', f'forks: {", ".join(forks)}' if forks else 'OpenMMLab originals')


def _torch(name: str) -> Diagnosis:
    import torch

    (torch.ones(2, 2) @ torch.ones(2, 2)).sum().item()
    return Diagnosis(name, 'ok', f'{torch.__version__}, {torch.get_num_threads()} threads')


def _torchvision(name: str) -> Diagnosis:
    import torch
    import torchvision

    kept = torchvision.ops.nms(torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]]), torch.tensor([0.9, 0.8]), 0.5)
    assert kept.tolist() == [0], f'torchvision.ops.nms kept {kept.tolist()} of two equal boxes'
    return Diagnosis(name, 'ok', f'{torchvision.__version__}, its operators run with this torch')


def _mmengine(name: str) -> Diagnosis:
    import mmengine

    return Diagnosis(name, 'ok', mmengine.__version__)


def _mmcv(name: str) -> Diagnosis:
    import mmcv
    import torch
    from mmcv.ops import RoIAlign, nms

    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [8, 8, 9, 9]])
    _, kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    assert kept.tolist() == [0, 2], f'mmcv.ops.nms kept {kept.tolist()}, not [0, 2]'
    pooled = RoIAlign(2)(torch.ones(1, 1, 8, 8), torch.tensor([[0.0, 1, 1, 6, 6]]))
    assert torch.allclose(pooled, torch.ones(1, 1, 2, 2)), 'mmcv.ops.RoIAlign of ones does not give ones'
    return Diagnosis(name, 'ok', f'{mmcv.__version__}, its operators run with this torch')


def _framework(name: str) -> Diagnosis:
    models = FRAMEWORKS[name]
    if find_spec(name) is None:
        alone = not any(find_spec(other) for other in FRAMEWORKS)
        need = f', nor is {" or ".join(other for other in FRAMEWORKS if other != name)}' if alone else ''
        state = 'FAIL' if alone else 'note'
        return Diagnosis(name, state, f'not installed{need}: {models} cannot be trained', FIXES[name])
    package = import_module(name)
    import_module(f'{name}.models')
    return Diagnosis(name, 'ok', f'{package.__version__}, for {models}')


def _pycocotools(name: str) -> Diagnosis:
    import numpy as np
    from pycocotools import mask

    area = mask.area(mask.encode(np.ones((3, 4), np.uint8, order='F')))
    assert area == 12, f'pycocotools.mask.area of a 3x4 mask is {area}'
    return Diagnosis(name, 'ok', f'{metadata.version("pycocotools")} with numpy {np.__version__}')


def _fishnet(name: str) -> Diagnosis:
    import torch
    from mmengine.registry import MODELS

    try:
        import fishnet_mmdet
    except ImportError as error:
        # The message of the package's own ImportError leads to this file.
        raise (error.__cause__ or error) from None
    with torch.device('meta'):
        levels = MODELS.build(dict(type='FishNet', arch='fishnet150')).eval()(torch.rand(1, 3, 64, 64))
    return Diagnosis(name, 'ok', f'{fishnet_mmdet.__version__}, FishNet is registered and gives {len(levels)} levels')


def _gpu(name: str) -> Diagnosis:
    import torch

    if not torch.cuda.is_available():
        return Diagnosis(name, 'note', 'no CUDA GPU: training runs on the CPU, slowly')
    from mmcv.ops import nms

    text = f'{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}'
    nms(torch.tensor([[0.0, 0, 4, 4]]).cuda(), torch.tensor([0.9]).cuda(), 0.5)
    return Diagnosis(name, 'ok', f'{text}, mmcv operators run on it')


def _data(name: str) -> Diagnosis:
    coco = Path(os.environ.get('COCO_ROOT', 'data/coco'))
    places = {
        'COCO': coco / 'annotations/instances_val2017.json',
        'demo data': Path('data/demo/annotations/instances_val.json'),
    }
    found = [what for what, path in places.items() if path.is_file()]
    if not found:
        return Diagnosis(name, 'note', f'no data in {coco} or data/demo, seen from {Path.cwd()}', FIXES[name])
    return Diagnosis(name, 'ok', ', '.join(found))


CHECKS: dict[str, Callable[[str], Diagnosis]] = {
    'python': _python,
    'package families': _families,
    'torch': _torch,
    'torchvision': _torchvision,
    'mmengine': _mmengine,
    'mmcv operators': _mmcv,
    **dict.fromkeys(FRAMEWORKS, _framework),
    'pycocotools': _pycocotools,
    'fishnet_mmdet': _fishnet,
    'gpu': _gpu,
    'data': _data,
}


if __name__ == '__main__':
    if not __package__:
        # Run as a file: Python looks for modules in this folder first, and its data/, files/ ... would hide packages.
        here = Path(__file__).resolve().parent
        sys.path[:] = [entry for entry in sys.path if Path(entry or '.').resolve() != here]
    sys.exit(main())
