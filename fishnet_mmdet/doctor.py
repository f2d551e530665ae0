"""Checks whether this machine is ready to train: `python fishnet_mmdet/doctor.py`.

Every check runs on its own, so a broken package does not hide the next problem. Run as a file, the doctor needs only
Python's standard library, so it also works where `import fishnet_mmdet` fails. The exit status is 0 if a training can
run.
"""

import contextlib
import io
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

ORIGINALS = {
    'mmengine': 'mmengine==0.10.7',
    'mmcv': 'mmcv==2.1.0',
    'mmdet': 'mmdet==3.3.0',
    'mmpretrain': 'mmpretrain==1.2.0',
    'mmseg': 'mmsegmentation==1.2.2 ftfy regex',
}
"""Import name -> what to install from OpenMMLab, in the tested versions."""

FORKS = {
    'mmengine': 'onedl-mmengine==0.10.12',
    'mmcv': 'onedl-mmcv==2.3.6',
    'mmdet': 'onedl-mmdetection==3.5.1',
    'mmpretrain': 'onedl-mmpretrain==1.3.6',
    'mmseg': 'onedl-mmsegmentation==1.4.2',
}
"""Import name -> what to install of OneDL's maintained forks, which keep the import names."""

TRIED: dict[tuple[str, str, str], str] = {}
"""Python, family and torch with which the whole test suite ran -> date and result. `make matrix` writes it."""

FRAMEWORKS = {'mmdet': 'detectors', 'mmpretrain': 'classifiers', 'mmseg': 'segmentors'}
"""Packages of which at least one is needed -> the models that it trains."""

TORCH = 'pip install --force-reinstall torch==2.11.0 torchvision==0.26.0'
MMDET_NEEDS = 'it needs mmcv from 2.0.0rc4 up to, not including, 2.2.0'
FRESH = 'make a fresh environment, and install fishnet-mmdet there'


def fixes() -> dict[str, str]:
    """The fix for each check, with the packages of the family that is installed or that this Python needs."""
    packages = FORKS if takes_forks() else ORIGINALS
    build = rebuild(packages['mmcv'])
    return {
        'torch': TORCH,
        'torchvision': f'install both from one index: {TORCH}',
        **{name: f'pip install {packages[name]}' for name in ('mmengine', *FRAMEWORKS)},
        'mmdet': f'pip install {packages["mmdet"]}' + ('' if takes_forks() else f'  ({MMDET_NEEDS})'),
        'mmcv operators': build,
        'pycocotools': 'pip install --force-reinstall pycocotools==2.0.11',
        'fishnet_mmdet': 'first fix what failed above; then install fishnet-mmdet again',
        'gpu': f'build mmcv with the CUDA toolkit of the installed torch: export FORCE_CUDA=1, then {build}',
        'data': 'set COCO_ROOT=/path/to/coco, or run `fishnet-mmdet get-coco data/coco` or `fishnet-mmdet demo-data`',
    }


def rebuild(mmcv: str) -> str:
    """The command that builds mmcv for the installed torch."""
    return (
        "pip install 'setuptools>=77,<81' wheel ninja psutil && MMCV_WITH_OPS=1 pip install --no-build-isolation "
        f'--no-cache-dir --no-deps --force-reinstall {mmcv}'
    )


def takes_forks() -> bool:
    """Whether OneDL's forks are installed, or, without either family, needed: OpenMMLab's mmcv lacks Python 3.13."""
    there = installed()
    if there & {distribution(package) for package in FORKS.values()}:
        return True
    return not there & {distribution(p) for p in ORIGINALS.values()} and sys.version_info >= (3, 13)


def installed() -> set[str]:
    """Names of the installed distributions."""
    return {d.metadata['Name'].lower().replace('_', '-') for d in metadata.distributions() if d.metadata['Name']}


def distribution(requirement: str) -> str:
    """The name in a requirement such as 'mmcv==2.1.0'."""
    return requirement.partition('==')[0]


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
            # Packages may print when they are imported, as OneDL's do.
            with contextlib.redirect_stdout(io.StringIO()):
                result = check(name)
            yield result
        # A broken installation can fail with any error.
        except Exception as error:
            lines = str(error).strip().splitlines() or ['']
            text = f'{type(error).__name__}: {lines[0][:150]}'
            yield Diagnosis(name, 'FAIL', text, fixes().get(name, FRESH))


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
    there = installed()
    pairs = list(zip(ORIGINALS.values(), FORKS.values(), strict=True))
    both = [pair for pair in pairs if {distribution(part) for part in pair} <= there]
    if both:
        packages = ' '.join(distribution(part) for pair in both for part in pair)
        keep = ' '.join(pair[sys.version_info >= (3, 13)] for pair in both)
        return Diagnosis(
            name,
            'FAIL',
            f'packages that overwrite each other are installed together: {packages}',
            f'pip uninstall -y {packages} && pip install --no-build-isolation --no-cache-dir {keep}',
        )
    if 'mmcv-lite' in there and 'mmcv' in there:
        fix = f'pip uninstall -y mmcv-lite mmcv && {rebuild(ORIGINALS["mmcv"])}'
        return Diagnosis(name, 'FAIL', 'mmcv-lite overwrites files of mmcv', fix)
    forks = [distribution(part) for part in FORKS.values() if distribution(part) in there]
    return Diagnosis(name, 'ok', f'OneDL, forks: {", ".join(forks)}' if forks else 'OpenMMLab originals')


def _combination(name: str) -> Diagnosis:
    python = '.'.join(platform.python_version_tuple()[:2])
    family = 'onedl' if takes_forks() else 'openmmlab'
    try:
        torch = metadata.version('torch').partition('+')[0]
    except metadata.PackageNotFoundError:
        torch = 'missing'
    text = f'Python {python}, {family}, torch {torch}'
    if result := TRIED.get((python, family, torch)):
        return Diagnosis(name, 'ok', f'{text}: tried on {result}')
    tried = ', '.join(f'Python {p} with torch {t}' for p, f, t in TRIED if f == family)
    return Diagnosis(name, 'note', f'{text}: not tried' + (f'; with this family: {tried}' if tried else ''))


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
        return Diagnosis(name, state, f'not installed{need}: {models} cannot be trained', fixes()[name])
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
        return Diagnosis(name, 'note', f'no data in {coco} or data/demo, seen from {Path.cwd()}', fixes()[name])
    return Diagnosis(name, 'ok', ', '.join(found))


CHECKS: dict[str, Callable[[str], Diagnosis]] = {
    'python': _python,
    'package families': _families,
    'combination': _combination,
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
