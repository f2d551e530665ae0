"""Ports every config, trains each for a step in a process of its own, and writes a JSON line about it."""

import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.lab.port_report.steps import train_a_step
from fishnet_mmdet.project.port import port_config
from fishnet_mmdet.project.port.bases import read_base

ARCH = dict(base='fishnet99', width=0.25)
"""The network of the training steps."""

TOO_SMALL = ('smaller than kernel', 'selected index k out of range')
"""What models say of images that are too small."""

OTHERS = (
    'mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py',
    'mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py',
    'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py',
    'mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py',
    'mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py',
    'mmseg::ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024.py',
    'mmseg::fastfcn/fastfcn_r50-d32_jpu_psp_4xb4-80k_ade20k-512x512.py',
    'mmpretrain::resnet/resnet50_8xb32_in1k.py',
    'mmpretrain::resnet/resnet18_8xb16_cifar10.py',
    'mmpretrain::resnext/resnext50-32x4d_8xb32_in1k.py',
    'mmpretrain::seresnet/seresnet50_8xb32_in1k.py',
    'mmpretrain::resnet/resnet50_8xb8_cub.py',
)
"""Configs of MMSegmentation and MMPretrain: a sample."""


def config_names() -> list[str]:
    """MMDetection's configs with `r50` in their name, and the others: the first of each folder, then the second, ..."""
    folder = Path(find_spec('mmdet').origin).parent / '.mim' / 'configs'
    folders: dict[str, list[str]] = {}
    for path in sorted(folder.rglob('*.py')):
        if 'r50' in path.name and '_base_' not in path.parts:
            folders.setdefault(path.parent.name, []).append(f'mmdet::{path.relative_to(folder).as_posix()}')
    rounds = zip_longest(*folders.values(), OTHERS)
    return [name for names in rounds for name in names if name]


def run(names: list[str], lines: Path, timeout: float) -> Iterator[dict[str, Any]]:
    """Yields one record for each config, and appends it to the file; configs that are there already are passed over.

    Args:
        names: Configs.
        lines: A file with one JSON record in each line; it is made where there is none.
        timeout: Seconds for one config and one network.
    """
    lines.parent.mkdir(parents=True, exist_ok=True)
    done = {record['config'] for record in read(lines)}
    for name in names:
        if name in done:
            continue
        record = about(name, timeout)
        with lines.open('a') as file:
            file.write(json.dumps(record) + '\n')
        yield record


def read(lines: Path) -> list[dict[str, Any]]:
    """The records of a file."""
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def forget(names: list[str], lines: Path) -> None:
    """Removes the records of these configs, so that they are run again."""
    kept = [record for record in read(lines) if record['config'] not in names]
    write_atomically(lines, ''.join(json.dumps(record) + '\n' for record in kept).encode())


def about(name: str, timeout: float) -> dict[str, Any]:
    """The record of one config: what became of its port, and of its ResNet."""
    start = time.monotonic()
    fish = in_child(_fish_step, name, timeout)
    resnet = in_child(_resnet_step, name, timeout)
    seconds = round(time.monotonic() - start, 1)
    return dict(config=name, fishnet=fish, resnet=resnet, seconds=seconds)


def in_child(step: Callable[[str], dict[str, Any]], name: str, timeout: float) -> dict[str, Any]:
    """Runs a step in a forked process, which may take so many seconds and may crash."""
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(step, name, sender))
    child.start()
    sender.close()
    try:
        if not receiver.poll(timeout):
            return dict(outcome='failed', reason=f'not done after {timeout:g} s')
        return receiver.recv()
    except EOFError:
        child.join()
        return dict(outcome='failed', reason=f'the process ended with status {child.exitcode}')
    finally:
        child.kill()
        child.join()


def _child(step: Callable[[str], dict[str, Any]], name: str, sender: Any) -> None:
    torch.set_num_threads(1)
    # Models log every weight that they draw.
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    warnings.simplefilter('ignore')
    try:
        result = step(name)
    except UserError as error:
        result = dict(outcome='refused', reason=_short(str(error)))
    except Exception as error:  # of any model
        result = dict(outcome='failed', reason=_short(f'{type(error).__name__}: {error}'))
    sender.send(result)


def _fish_step(name: str) -> dict[str, Any]:
    # The released weights have to be found too, before anything is built.
    pretrained = port_config(name)
    port = port_config(name, ARCH, scratch=True)
    return dict(outcome='trained', dropped=pretrained.notes, **_step(port.config()))


def _resnet_step(name: str) -> dict[str, Any]:
    return dict(outcome='trained', **_step(read_base(name).config))


def _step(config: Config) -> dict[str, float]:
    """A step on small images, or on larger ones where these give too small a level, or fewer places than queries."""
    try:
        return train_a_step(config)
    except RuntimeError as error:
        if not any(sign in str(error) for sign in TOO_SMALL):
            raise
        return train_a_step(config, side=384)


def _short(text: str) -> str:
    """One line, without folders of this machine."""
    site = str(Path(find_spec('mmdet').origin).parent.parent)
    line = ' '.join(text.replace(site + '/', '').split())
    return line if len(line) <= 300 else f'{line[:297]}...'
