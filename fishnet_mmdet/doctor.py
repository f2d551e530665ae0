"""Is this machine ready to train? `python -m fishnet_mmdet.doctor` answers in one screen.

Every check stands alone, so that a broken part does not hide the next. Exit status 0 only when training can run.
"""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

FAMILIES = {'mmengine': 'onedl-mmengine', 'mmcv': 'onedl-mmcv', 'mmdet': 'onedl-mmdetection'}
"""The original distribution of each import name, and its maintained fork's."""

REBUILD_MMCV = (
    "pip install 'setuptools<81' wheel ninja psutil && MMCV_WITH_OPS=1 pip install --no-build-isolation "
    '--no-cache-dir --no-deps --force-reinstall mmcv==2.1.0'
)
REPAIR = '`make setup` in a clone of this repo builds the pinned stack'


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: What was checked.
        state: 'ok', 'note' (training runs without it) or 'FAIL'.
        text: What is there.
        fix: The one line that fixes it; empty where nothing is wrong.
    """

    name: str
    state: str
    text: str
    fix: str = ''


def main() -> int:
    """Prints every finding; returns the exit status."""
    failed = False
    for finding in examine():
        failed |= finding.state == 'FAIL'
        print(f'{finding.state:>5}  {finding.name:<22} {finding.text}')
        if finding.fix:
            print(f'{"":>5}  {"":<22} fix: {finding.fix}')
    print('\nnot ready to train' if failed else '\nready to train')
    return int(failed)


def examine() -> Iterator[Finding]:
    """Runs every check, each on its own."""
    for name, check in CHECKS.items():
        try:
            yield check(name)
        except Exception as error:  # a broken stack fails in any way it likes
            reason = str(error).strip().splitlines() or ['']
            yield Finding(name, 'FAIL', f'{type(error).__name__}: {reason[0][:150]}', FIXES.get(name, REPAIR))


def _python(name: str) -> Finding:
    text = f'{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores'
    return Finding(name, 'ok', text)


def _families(name: str) -> Finding:
    installed = {d.metadata['Name'].lower().replace('_', '-') for d in metadata.distributions() if d.metadata['Name']}
    both = [(old, new) for old, new in FAMILIES.items() if old in installed and new in installed]
    if both:
        packages = ' '.join(part for pair in both for part in pair)
        keep = ' '.join(f'{old}=={metadata.version(old)}' for old, _ in both)
        return Finding(
            name,
            'FAIL',
            f'installed on top of each other, each overwriting files of the other: {packages}',
            f'pip uninstall -y {packages} && pip install --no-build-isolation --no-cache-dir {keep}',
        )
    if 'mmcv-lite' in installed and 'mmcv' in installed:
        return Finding(name, 'FAIL', 'mmcv-lite lies over mmcv', f'pip uninstall -y mmcv-lite mmcv && {REBUILD_MMCV}')
    forks = sorted(set(FAMILIES.values()) & installed)
    return Finding(name, 'ok', f'forks: {", ".join(forks)}' if forks else 'openmmlab originals')


def _torch(name: str) -> Finding:
    import torch

    (torch.ones(2, 2) @ torch.ones(2, 2)).sum().item()
    return Finding(name, 'ok', f'{torch.__version__}, {torch.get_num_threads()} threads')


def _torchvision(name: str) -> Finding:
    import torch
    import torchvision

    kept = torchvision.ops.nms(torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]]), torch.tensor([0.9, 0.8]), 0.5)
    assert kept.tolist() == [0], f'torchvision.ops.nms kept {kept.tolist()} of two equal boxes'
    return Finding(name, 'ok', f'{torchvision.__version__}, its operators run with this torch')


def _mmengine(name: str) -> Finding:
    import mmengine

    return Finding(name, 'ok', mmengine.__version__)


def _mmcv(name: str) -> Finding:
    import mmcv
    import torch
    from mmcv.ops import RoIAlign, nms

    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [8, 8, 9, 9]])
    _, kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    assert kept.tolist() == [0, 2], f'mmcv.ops.nms kept {kept.tolist()}, not [0, 2]'
    pooled = RoIAlign(2)(torch.ones(1, 1, 8, 8), torch.tensor([[0.0, 1, 1, 6, 6]]))
    assert torch.allclose(pooled, torch.ones(1, 1, 2, 2)), 'mmcv.ops.RoIAlign of ones is not one'
    return Finding(name, 'ok', f'{mmcv.__version__}, its operators run with this torch')


def _mmdet(name: str) -> Finding:
    import mmdet
    import mmdet.models  # noqa: F401  (the import is the check)

    return Finding(name, 'ok', mmdet.__version__)


def _mmpretrain(name: str) -> Finding:
    try:
        import mmpretrain
        import mmpretrain.models  # noqa: F401  (the import is the check)
    except ModuleNotFoundError as error:
        return Finding(name, 'note', f'{error}: needed to train classifiers only', "pip install 'mmpretrain>=1.2,<1.3'")
    return Finding(name, 'ok', mmpretrain.__version__)


def _pycocotools(name: str) -> Finding:
    import numpy as np
    from pycocotools import mask

    area = mask.area(mask.encode(np.ones((3, 4), np.uint8, order='F')))
    assert area == 12, f'pycocotools.mask.area of a 3x4 mask is {area}'
    return Finding(name, 'ok', f'{metadata.version("pycocotools")} with numpy {np.__version__}')


def _fishnet(name: str) -> Finding:
    import torch
    from mmdet.registry import MODELS

    import fishnet_mmdet

    with torch.device('meta'):
        levels = MODELS.build(dict(type='FishNet', arch='fishnet150')).eval()(torch.rand(1, 3, 64, 64))
    return Finding(name, 'ok', f'{fishnet_mmdet.__version__}, FishNet registered, {len(levels)} levels')


def _gpu(name: str) -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(name, 'note', 'no CUDA GPU: training runs on the CPU, slowly')
    from mmcv.ops import nms

    text = f'{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}'
    nms(torch.tensor([[0.0, 0, 4, 4]]).cuda(), torch.tensor([0.9]).cuda(), 0.5)
    return Finding(name, 'ok', f'{text}, mmcv operators run on it')


def _data(name: str) -> Finding:
    coco = Path(os.environ.get('COCO_ROOT', 'data/coco'))
    places = {'COCO': coco / 'annotations/instances_val2017.json'}
    places['demo set'] = Path('data/demo/annotations/instances_val.json')
    there = [what for what, path in places.items() if path.is_file()]
    if not there:
        fix = 'COCO_ROOT=/path/to/coco for COCO 2017, or `python tools/make_demo_data.py`'
        return Finding(name, 'note', f'neither {coco} nor data/demo found from {Path.cwd()}', fix)
    return Finding(name, 'ok', ', '.join(there))


CHECKS: dict[str, Callable[[str], Finding]] = {
    'python': _python,
    'package families': _families,
    'torch': _torch,
    'torchvision': _torchvision,
    'mmengine': _mmengine,
    'mmcv operators': _mmcv,
    'mmdet': _mmdet,
    'mmpretrain': _mmpretrain,
    'pycocotools': _pycocotools,
    'fishnet_mmdet': _fishnet,
    'gpu': _gpu,
    'data': _data,
}

FIXES = {
    'torch': 'pip install --force-reinstall torch==2.11.0 torchvision==0.26.0',
    'torchvision': 'install both from one index: pip install --force-reinstall torch==2.11.0 torchvision==0.26.0',
    'mmengine': 'pip install mmengine==0.10.7',
    'mmcv operators': REBUILD_MMCV,
    'mmdet': 'pip install mmdet==3.3.0  (it takes mmcv from 2.0.0rc4 up to, not including, 2.2.0)',
    'pycocotools': 'pip install --force-reinstall pycocotools==2.0.11',
    'fishnet_mmdet': 'fix what failed above first; then pip install -e . in a clone of this repo',
    'gpu': f'build mmcv with the CUDA toolkit that torch was built with: FORCE_CUDA=1, then {REBUILD_MMCV}',
}
"""What to do when a check raises."""


if __name__ == '__main__':
    sys.exit(main())
