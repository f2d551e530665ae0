"""The gradient norm that reaches each stage, at initialisation and while a network learns drawn images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from torch import Tensor, nn

from fishnet_mmdet.lab.demo_data.demo import OBJECT_CLASSES, draw_object
from fishnet_mmdet.lab.figures.backbones import FigureError
from fishnet_mmdet.lab.figures.gradients import places
from fishnet_mmdet.network.classifier import FishNetNeck
from fishnet_mmdet.network.fishnet import FishNet

SHADES = {
    'stem': '#6b7785',
    'tail': '#2f78b7',
    'bridge': '#8450b5',
    'body': '#2e9150',
    'head': '#dd7416',
    'layer': '#b3413c',
}
"""The colours of `fish.py`, darker, for lines."""

EPOCH = 4
"""Number of different batches, which are repeated: few, so that something is learnt in a few steps."""

DASHES = ('-', '--', ':', '-.')


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A short training.

    Attributes:
        steps: Number of updates of the weights.
        batch: Images in a batch.
        side: Side of the square images in pixels, at least 64: at 32 the last level has one pixel, and BN has nothing
            to average.
        lr: Learning rate of SGD with momentum 0.9 and weight decay 1e-4 (paper 4.1); it rises linearly over ten steps.
        seed: Seed of weights and images.

    Raises:
        FigureError: A value that cannot be trained with.
    """

    steps: int = 25
    batch: int = 8
    side: int = 64
    lr: float = 0.003
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (('steps', 1), ('batch', 2), ('side', 64), ('seed', 0)):
            if getattr(self, name) < least:
                raise FigureError(f'{name} = {getattr(self, name)} is too small; it must be at least {least}')
        if not self.lr > 0:
            raise FigureError(f'lr = {self.lr} must be above 0')


@dataclass(frozen=True, kw_only=True)
class Norms:
    """Gradient norms of one network.

    Attributes:
        stages: Names of the stages.
        parts: The part (tail, body, ...) of each stage.
        values: (steps, stages): L2 norm of the loss's gradient with respect to the refined feature of each stage, over
            the whole batch. Row 0 is taken before the first update.
        losses: Cross-entropy at each step.
    """

    stages: tuple[str, ...]
    parts: tuple[str, ...]
    values: np.ndarray
    losses: tuple[float, ...]


def _init_weights(module: BaseModule) -> None:
    # MMEngine logs three lines for every weight that it initialises.
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        module.init_weights()
    finally:
        logger.setLevel(level)


class _Classifier(nn.Module):
    """A backbone with the classifier it was published with: FishNet's own neck, or ResNet's global average."""

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        if isinstance(backbone, FishNet):
            self.neck = FishNetNeck(backbone.arch.out_channels[-1])
            _init_weights(self.neck)
            width = self.neck.out_channels
        else:
            self.neck = None
            width = backbone.feat_dim
        self.linear = nn.Linear(width, classes)
        nn.init.normal_(self.linear.weight, std=0.01)

    def forward(self, image: Tensor) -> Tensor:
        """Computes the class scores: (N, 3, H, W) -> (N, classes)."""
        levels = self.backbone(image)
        return self.linear(self.neck(levels)[0] if self.neck else levels[-1].mean((2, 3)))


def batch_of(plan: TrainingPlan, step: int) -> tuple[Tensor, Tensor]:
    """The drawn images of a step: (batch, 3, side, side) of about unit variance, and their classes (batch,)."""
    labels = [(step * plan.batch + i) % len(OBJECT_CLASSES) for i in range(plan.batch)]
    pictures = [
        draw_object(np.random.default_rng((plan.seed, step, i)), label, plan.side) for i, label in enumerate(labels)
    ]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
    return (images - 120) / 60, torch.tensor(labels)


def gradient_norms(
    build: Callable[[], nn.Module],
    plan: TrainingPlan,
    steps: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Norms:
    """Trains a network from scratch for a few steps and measures the gradients that reach its stages.

    Args:
        build: Builds the backbone.
        plan: The training.
        steps: Wraps the sequence of step numbers, to show progress.

    Raises:
        FigureError: The loss became NaN or infinite.
    """
    torch.manual_seed(plan.seed)
    backbone = build()
    _init_weights(backbone)
    net = _Classifier(backbone, len(OBJECT_CLASSES))
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), plan.lr, momentum=0.9, weight_decay=1e-4)

    stages = places(backbone)
    features: dict[str, Tensor] = {}
    for stage in stages:
        stage.refined.register_forward_hook(
            lambda _, __, out, name=stage.name: features.update({name: out})  # a hook that returns None
        )
    rows, losses = [], []
    for step in steps(range(plan.steps)):
        images, labels = batch_of(plan, step % EPOCH)
        loss = F.cross_entropy(net(images), labels)
        if not loss.isfinite():
            raise FigureError(f'the loss is {loss.item()} at step {step}; give a smaller learning rate than {plan.lr}')
        for feature in features.values():
            feature.retain_grad()
        optimizer.zero_grad()
        loss.backward()
        rows.append([features[stage.name].grad.norm().item() for stage in stages])
        losses.append(loss.item())
        for group in optimizer.param_groups:
            group['lr'] = plan.lr * min(1, (step + 1) / 10)
        optimizer.step()
    return Norms(
        stages=tuple(s.name for s in stages),
        parts=tuple(s.part for s in stages),
        values=np.array(rows),
        losses=tuple(losses),
    )


def plot(norms: dict[str, Norms], plan: TrainingPlan) -> Figure:
    """Draws the norms of several networks: a column for each, initialisation above, training below, on one scale.

    Args:
        norms: By name of the network.
        plan: The training that they were measured in.
    """
    widths = [2.5 + len(n.stages) for n in norms.values()]
    figure = Figure(figsize=(max(8, 0.72 * sum(widths) + 1), 7.6), layout='constrained')
    axes = figure.subplots(2, len(norms), width_ratios=widths, sharey=True, squeeze=False)
    for (name, measured), (above, below) in zip(norms.items(), axes.T, strict=True):
        _at_initialisation(above, measured)
        _in_training(below, measured)
        above.set_title(f'{name}: at initialisation', loc='left', weight='bold')
        below.set_title(f'{name}: in training, loss {_fall(measured)}', loc='left', weight='bold')
    for row in axes:
        row[0].set_ylabel(r"$\|\partial L / \partial x\|_2$ of a stage's refined feature $x$")
    figure.suptitle(
        f'Gradient that reaches each stage ({plan.batch} drawn images of {plan.side} x {plan.side} per step, '
        f'random weights, seed {plan.seed})',
        fontsize=11,
    )
    return figure


def save_plot(figure: Figure, out: Path) -> None:
    """Writes a figure in the format that the name of the file ends in, without a date."""
    with mpl.rc_context({'svg.hashsalt': 'fishnet_mmdet'}):
        figure.savefig(out, dpi=120)


def _fall(measured: Norms) -> str:
    few = max(1, len(measured.losses) // 5)
    return f'{np.mean(measured.losses[:few]):.2f} to {np.mean(measured.losses[-few:]):.2f}'


def _scale(axes: Axes) -> None:
    axes.set_yscale('log')
    axes.grid(axis='y', which='major', color='#dfe4e9')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def _at_initialisation(axes: Axes, measured: Norms) -> None:
    _scale(axes)
    places_ = range(len(measured.stages))
    colours = [SHADES[part] for part in measured.parts]
    axes.plot(places_, measured.values[0], color='#b8c0c9', zorder=1)
    axes.scatter(places_, measured.values[0], c=colours, s=70, zorder=2)
    axes.set_xticks(places_, [name.replace(' ', '\n') for name in measured.stages])
    axes.set_xlabel('stage, from image to output')


def _in_training(axes: Axes, measured: Norms) -> None:
    _scale(axes)
    seen: dict[str, int] = {}
    for name, part, values in zip(measured.stages, measured.parts, measured.values.T, strict=True):
        dash = DASHES[seen.setdefault(part, 0) % len(DASHES)]
        seen[part] += 1
        axes.plot(values, dash, color=SHADES[part], lw=1.6, label=name, marker='.' if len(values) == 1 else '')
    axes.set_xlabel('step')
    axes.legend(fontsize=8, frameon=False, loc='upper left', bbox_to_anchor=(1.0, 1.0), handlelength=2.4)
