"""From a data folder to a config file."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.outputs import check_output, writing
from fishnet_mmdet.network.arch import name_of, resolve_arch
from fishnet_mmdet.preflight import Report, examine
from fishnet_mmdet.project.choice import Choice
from fishnet_mmdet.project.new import choices
from fishnet_mmdet.project.new.machine import Machine, this_machine
from fishnet_mmdet.project.new.text import Plan, config_text
from fishnet_mmdet.project.own_data import OwnData, find_data
from fishnet_mmdet.project.own_data.facts import Facts
from fishnet_mmdet.weights.catalogue import SCHEME, first_for, released
from fishnet_mmdet.weights.load import address_of


@dataclass(frozen=True)
class NewConfig:
    """A config that was written.

    Attributes:
        path: The file.
        choices: What was chosen, and why.
        report: What the data checks found.
    """

    path: Path
    choices: tuple[Choice, ...]
    report: Report


def new_config(
    data: Path | str,
    arch: str | Mapping,
    out: Path | str,
    *,
    train: Path | str | None = None,
    val: Path | str | None = None,
    from_scratch: bool = False,
    epochs: int | None = None,
    overwrite: bool = False,
    machine: Machine | None = None,
) -> NewConfig:
    """Writes a config for the images and annotations in a folder.

    Args:
        data: The folder: COCO, YOLO or Pascal VOC.
        arch: Name of an architecture, such as 'fishnet99', or a dict as in `FishNet`.
        out: The config file.
        train: COCO file to train on. Default: found by its name.
        val: COCO file to validate on. Default: found by its name, or a seeded fifth of the training images.
        from_scratch: Whether to start from random weights. Default: released weights of ImageNet.
        epochs: Length of the run. Default: by the number of images.
        overwrite: Whether to replace the config, and annotation files of an earlier call.
        machine: What trains. Default: the first GPU, or else the CPU.

    Raises:
        UserError: There are no data, it is not clear which, there are no weights, or a file may not be written.
    """
    out = Path(out)
    if out.suffix != '.py':
        raise UserError(f'-o {out}: a config is a .py file')
    if out.exists() and not overwrite:
        raise UserError(f'{out} exists: add --overwrite, or choose another name with -o')
    check_output('-o', out)
    if epochs is not None and epochs < 1:
        raise UserError(f'--epochs {epochs} must be at least 1')
    # The full name of an architecture that has one.
    arch = name_of(resolve_arch(arch)) or arch
    weights = None if from_scratch else _weights(arch)
    own = find_data(Path(data), out, train, val, overwrite)
    plan, made = _plan(arch, weights, own, machine or this_machine(), epochs)
    text = config_text(plan)
    report = _check(text)
    with writing('-o', out):
        write_atomically(out, text.encode())
    return NewConfig(out, (*own.notes, *made, *_to_come(weights)), report)


def _weights(arch: str | Mapping) -> str:
    """The first released weights of an architecture."""
    if isinstance(arch, str) and (name := first_for(arch)):
        return name
    raise UserError(f'--arch {arch} has no released weights ({released()} have): add --from-scratch')


def _plan(
    arch: str | Mapping, weights: str | None, data: OwnData, machine: Machine, epochs: int | None
) -> tuple[Plan, list[Choice]]:
    """Decides everything."""
    facts = data.train.facts
    masks = facts.masks >= 0.5
    picture, picture_choice = choices.choose_picture(facts)
    anchors, anchors_choice = choices.choose_anchors(facts, picture)
    batch, batch_choice = choices.choose_batch(facts, picture, machine)
    samples, samples_choice = choices.choose_samples(machine)
    detections, detections_choice = choices.choose_detections([facts, data.val.facts])
    schedule, schedule_choice = choices.choose_schedule(max(1, len(facts.per_image)), batch, machine, epochs)
    rate, rate_choice = choices.choose_rate(batch, weights is None)
    made = [
        _detector(facts, masks), _classes(facts), _start(weights),
        picture_choice, anchors_choice, batch_choice, samples_choice, detections_choice,
        schedule_choice, rate_choice,
    ]  # fmt: skip
    plan = Plan(
        arch=arch, weights=weights, data=data, masks=masks, picture=picture, anchors=anchors, batch=batch,
        samples=samples, detections=detections, workers=choices.choose_workers(machine), rate=rate, schedule=schedule,
        comments=tuple(str(choice) for choice in (*made[:1], *made[2:])),
    )  # fmt: skip
    return plan, made


def _to_come(weights: str | None) -> Iterator[Choice]:
    """What holds only here and now, and is not written into the config."""
    if weights:
        url, path = address_of(weights)
        if path.is_file():
            yield Choice('weights file', f'{path}', 'it is there: nothing has to be downloaded')
        else:
            yield Choice('weights file', 'not there yet', f'`train` downloads {url} to {path}')
    yield Choice('time', 'not known yet', '`train` prints how much is left from its first iterations on')


def _start(weights: str | None) -> Choice:
    if weights:
        return Choice('weights', f'{SCHEME}{weights}', 'of ImageNet; every BN is fixed')
    return Choice('weights', 'random', '--from-scratch: BN is trained, and the neck has BN too')


def _detector(facts: Facts, masks: bool) -> Choice:
    share = f'{facts.masks:.0%} of the objects have masks'
    if facts.masks < 1:
        share += ' (a polygon that is the rectangle of its box counts as none)'
    return Choice('detector', 'Mask R-CNN' if masks else 'Faster R-CNN', share if facts.masks else 'boxes, no masks')


def _classes(facts: Facts) -> Choice:
    shown = ', '.join(f'{name} ({facts.counts[name]:,})' for name in facts.classes[:8])
    more = f' and {len(facts.classes) - 8} more' if len(facts.classes) > 8 else ''
    return Choice('classes', f'{len(facts.classes)}', f'{shown}{more}')


def _check(text: str) -> Report:
    """The data checks of the config."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'new.py'
        path.write_text(text, encoding='utf-8')
        cfg = Config.fromfile(os.fspath(path))
    return examine(cfg, ('train', 'val'), weights=False)
