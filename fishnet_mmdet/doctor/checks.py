"""The checks, each by itself. Packages are imported inside of them."""

import os
import platform
import sys
from collections.abc import Callable, Collection, Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from fishnet_mmdet.doctor.cores import check_cores
from fishnet_mmdet.doctor.diagnosis import Diagnosis
from fishnet_mmdet.doctor.packages import (
    FORKS,
    FRAMEWORKS,
    ORIGINALS,
    distribution,
    fixes,
    install,
    installed,
    rebuild,
    takes_forks,
)
from fishnet_mmdet.doctor.tried import check_combination


def _python(name: str) -> Diagnosis:
    return Diagnosis(name, 'ok', f'{platform.python_version()} on {platform.system()} {platform.machine()}')


def _families(name: str) -> Diagnosis:
    there = installed()
    pairs = list(zip(ORIGINALS.values(), FORKS.values(), strict=True))
    both = [pair for pair in pairs if {distribution(part) for part in pair} <= there]
    if both:
        packages = ' '.join(distribution(part) for pair in both for part in pair)
        family = _family_to_keep(pairs, there)
        fix = f'pip uninstall -y {packages} && {install([pair[family] for pair in both])}'
        text = f'packages that overwrite each other are installed together: {packages}'
        return Diagnosis(name, 'FAIL', text, fix)
    if 'mmcv-lite' in there:
        whole = ORIGINALS['mmcv'] if 'mmcv' in there or not takes_forks() else FORKS['mmcv']
        unwanted = ' '.join(sorted({'mmcv-lite', distribution(whole)} & there))
        text = 'mmcv-lite has no operators, and overwrites files of mmcv'
        return Diagnosis(name, 'FAIL', text, f'pip uninstall -y {unwanted} && {rebuild(whole)}')
    forks = [distribution(part) for part in FORKS.values() if distribution(part) in there]
    return Diagnosis(name, 'ok', f'OneDL, forks: {", ".join(forks)}' if forks else 'OpenMMLab originals')


def _family_to_keep(pairs: Sequence[tuple[str, str]], there: Collection[str]) -> int:
    """Which of each pair to keep: that of the packages installed without their twins, or else that of this Python."""
    installed_of = [[number for number, part in enumerate(pair) if distribution(part) in there] for pair in pairs]
    families = {found[0] for found in installed_of if len(found) == 1}
    return families.pop() if len(families) == 1 else int(sys.version_info >= (3, 13))


def _torch(name: str) -> Diagnosis:
    import torch

    (torch.ones(2, 2) @ torch.ones(2, 2)).sum().item()
    return Diagnosis(name, 'ok', torch.__version__)


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
    'combination': check_combination,
    'torch': _torch,
    'cores': check_cores,
    'torchvision': _torchvision,
    'mmengine': _mmengine,
    'mmcv operators': _mmcv,
    **dict.fromkeys(FRAMEWORKS, _framework),
    'pycocotools': _pycocotools,
    'fishnet_mmdet': _fishnet,
    'gpu': _gpu,
    'data': _data,
}
