"""Decides the settings of a config from the data and the machine, each with the reason why."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fishnet_mmdet.project.choice import Choice
from fishnet_mmdet.project.new.machine import GIB, Machine
from fishnet_mmdet.project.own_data.facts import Facts

LARGEST = (1333, 800)
"""Longer and shorter side of images in MMDetection's and the paper's configs."""

SMALLEST = 64
"""Smallest longer side in pixels: two pixels on the level of stride 32."""

BYTES_PER_PIXEL = 8000
"""Upper estimate of the memory that training a detector takes for each pixel of its images."""

PIXELS_ON_CPU = 4 * 320 * 320
"""Pixels of a batch on a CPU, so that an iteration takes seconds."""

SEEN_ON_GPU, SEEN_ON_CPU = 30_000, 6_000
"""How many images a run sees, with repetitions. Large data have 12 epochs at least."""


@dataclass(frozen=True)
class Picture:
    """How images enter the network.

    Attributes:
        scale: Longer and shorter side to which images are scaled; None if they keep their size.
        crop: Side of the random squares that are trained on, where images keep their size.
        pixels: Pixels of a typical training image.
        factor: By how much a typical image is scaled.
    """

    scale: tuple[int, int] | None
    crop: int | None
    pixels: int
    factor: float


@dataclass(frozen=True)
class Schedule:
    """How long, in what steps and how fast.

    Attributes:
        epochs: Length of the run.
        warm_up: Iterations in which the learning rate rises.
        milestones: Epochs after which it falls tenfold, under SGD.
        val_interval: Epochs between validations and checkpoints.
        log_interval: Iterations between lines of the log.
    """

    epochs: int
    warm_up: int
    milestones: tuple[int, ...]
    val_interval: int
    log_interval: int


def choose_picture(facts: Facts) -> tuple[Picture, Choice]:
    """Images keep the size they have in the data, up to that of MMDetection's configs."""
    longer, shorter = (_to_coarsest_stride(float(np.median(facts.sizes[:, side]))) for side in (0, 1))
    low, high = np.percentile(facts.sizes[:, 0], (5, 95))
    seen = f'the longer sides are {facts.sizes[:, 0].min():.0f} to {facts.sizes[:, 0].max():.0f} pixels'
    fits = facts.sizes[:, 0].max() <= 1.5 * LARGEST[0]
    side = min(shorter, LARGEST[1])
    small = len(facts.sides) > 0 and float(np.percentile(facts.sides, 90)) < side / 4
    if fits and small and high > 1.5 * low:
        reason = f'{seen}, the objects are small beside a crop, so nothing has to be scaled'
        value = f'kept; training on random crops of {side} x {side}'
        return Picture(None, side, side * side, 1.0), Choice('image size', value, reason)
    shrink = min(1.0, LARGEST[0] / longer, LARGEST[1] / shorter)
    # A level of a single pixel has no statistics for BN where the batch has one image.
    shrink = max(shrink, SMALLEST / longer)
    scale = (_to_coarsest_stride(longer * shrink), _to_coarsest_stride(shorter * shrink))
    why = 'more than 1333 x 800 is scaled down' if shrink < 1 else 'this is the median'
    reason = f'{seen}; ' + (f'less than {SMALLEST} pixels is scaled up' if shrink > 1 else why)
    factor = scale[0] / float(np.median(facts.sizes[:, 0]))
    return Picture(scale, None, scale[0] * scale[1], factor), Choice('image scale', f'{scale[0]} x {scale[1]}', reason)


def _to_coarsest_stride(side: float) -> int:
    """A side in pixels as a multiple of 32, the coarsest stride, to the nearest, and 32 at least."""
    return max(32, round(side / 32) * 32)


def choose_anchors(facts: Facts, picture: Picture) -> tuple[int, Choice]:
    """Scale of the anchors: their side at the finest level, in units of its stride 4."""
    if not len(facts.sides):
        return 8, Choice('anchors', '32 to 512 pixels', "MMDetection's; there are no objects to measure")
    # Relative to the scaled image, because images of other sizes are scaled by other factors.
    side = max(picture.scale) * facts.relative if picture.scale else facts.sides
    median = float(np.median(side))
    scale = 8 if median >= 32 else 4 if median >= 12 else 2
    reason = f'half of the objects are below {median:.0f} pixels'
    if scale == 8:
        reason = f"half of the objects have {median:.0f} pixels or more, MMDetection's anchors fit"
    return scale, Choice('anchors', f'{4 * scale} to {64 * scale} pixels', reason)


def choose_batch(facts: Facts, picture: Picture, machine: Machine) -> tuple[int, Choice]:
    """The largest power of two that half of the memory holds, and at most 16."""
    by_memory = machine.memory / 2 / (picture.pixels * BYTES_PER_PIXEL + 0.3 * GIB)
    most = 16.0 if machine.gpu else max(2, PIXELS_ON_CPU / picture.pixels)
    batch = 2 ** int(math.log2(max(1, min(by_memory, most, 16, len(facts.names)))))
    return batch, Choice('batch', f'{batch} images', f'{machine}; {picture.pixels:,} pixels each')


def choose_schedule(images: int, batch: int, machine: Machine, epochs: int | None = None) -> tuple[Schedule, Choice]:
    """Epochs such that small data are seen often enough, or as many as wanted; everything else is a share of them."""
    seen = SEEN_ON_GPU if machine.gpu else SEEN_ON_CPU
    epochs = epochs or min(100, max(12, round(seen / images)))
    per_epoch = math.ceil(images / batch)
    total = epochs * per_epoch
    schedule = Schedule(
        epochs=epochs,
        warm_up=min(500, max(1, total // 10)),
        # The paper's recipe: after 20 and 28 of 32 epochs.
        milestones=tuple(dict.fromkeys(m for s in (20, 28) if 0 < (m := round(epochs * s / 32)) < epochs)),
        val_interval=max(1, epochs // 6),
        # An iteration on a CPU takes seconds.
        log_interval=max(1, min(50 if machine.gpu else 1, per_epoch // 4)),
    )
    reason = f'{images:,} images with objects, {per_epoch:,} iterations per epoch, {total:,} in all'
    return schedule, Choice('schedule', f'{epochs} epochs, warm-up {schedule.warm_up} iterations', reason)


def choose_rate(batch: int, from_scratch: bool) -> tuple[float, Choice]:
    """The learning rate for a batch."""
    if from_scratch:
        # Measured with batches of 8 on nuclei; AdamW's steps scale with the root.
        rate = _round(3e-4 * math.sqrt(batch / 8))
        return rate, Choice('optimizer', f'AdamW, lr {rate}', f'from random weights; 3e-4 at 8 images, here {batch}')
    rate = _round(0.02 * batch / 16)
    return rate, Choice('optimizer', f'SGD, lr {rate}', f"the paper's 0.02 at 16 images, here {batch}")


def choose_samples(machine: Machine) -> tuple[int, Choice]:
    """Boxes of each image on which the heads are trained; on a CPU, the heads would take most of the time."""
    if machine.gpu:
        return 512, Choice('samples', '512 per image', "MMDetection's")
    return 128, Choice(
        'samples', '128 per image', "on a CPU, the heads would take most of the time; MMDetection's: 512"
    )


def choose_detections(facts: Sequence[Facts]) -> tuple[int, Choice]:
    """How many objects the detector finds on an image: MMDetection's 100, or more if some images hold more."""
    most = max((int(part.per_image.max(initial=0)) for part in facts), default=0)
    count = min(1000, max(100, math.ceil(most / 100) * 100))
    ours = "; COCO's AP counts the best 100" if count > 100 else ''
    return count, Choice('detections', f'{count} per image', f'an image holds up to {most:,} objects{ours}')


def _round(rate: float) -> float:
    """Two digits are enough for a learning rate."""
    return float(f'{rate:.1e}')


def choose_workers(machine: Machine) -> int:
    """Processes that load images; the cores of a CPU are left to training."""
    return min(4, machine.cores) if machine.gpu else min(1, machine.cores - 1)
