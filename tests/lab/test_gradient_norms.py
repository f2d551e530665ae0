"""The norms of gradients in a short training, and their plot."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from seeded import NARROW

from fishnet_mmdet import FishNet
from fishnet_mmdet.lab.figures.backbones import FigureError
from fishnet_mmdet.lab.figures.gradients import places
from fishnet_mmdet.lab.figures.training import SHADES, Norms, TrainingPlan, batch_of, gradient_norms, plot, save_plot

NARROW_STEM = replace(NARROW, stem_width=4)  # every tail stage widens, as in the released architectures


def narrow(arch=None, **kwargs):
    torch.manual_seed(0)
    return FishNet(replace(NARROW_STEM, **(arch or {})), **kwargs)


def test_gradient_norms_are_those_of_the_loss():
    plan = TrainingPlan(steps=2, batch=2)
    seen = []

    def watched():
        net = narrow()
        note = lambda grad: seen.append(grad.norm().item())  # noqa: E731
        net.tail[1].refine.register_forward_hook(lambda _, __, out: out.register_hook(note) and None)
        return net

    measured = gradient_norms(watched, plan)
    assert measured.stages == tuple(p.name for p in places(narrow()))
    assert measured.values.shape == (2, 11) and (measured.values > 0).all()
    assert measured.values[:, 2] == pytest.approx(seen) and seen[0] != seen[1]
    assert np.isfinite(measured.losses).all() and len(measured.losses) == 2
    assert np.allclose(measured.values, gradient_norms(narrow, plan).values)


def test_a_short_training_learns():
    """Otherwise the lower half of the plot would not be of a training."""
    measured = gradient_norms(narrow, TrainingPlan(steps=16, batch=9, lr=0.05))
    assert np.mean(measured.losses[-5:]) < np.mean(measured.losses[:5])


def test_images_follow_from_plan_and_step():
    (one, labels), (same, _), (other, _) = (batch_of(TrainingPlan(batch=3), step) for step in (0, 0, 1))
    assert one.shape == (3, 3, 64, 64) and labels.tolist() == [0, 1, 2]
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_the_plot_shows_every_stage_of_every_network(tmp_path):
    plan = TrainingPlan(steps=3)
    norms = {
        name: Norms(
            stages=tuple(f'{part} {i}' for i in range(count)),
            parts=(part,) * count,
            values=np.full((3, count), 0.5),
            losses=(2.0, 1.5, 1.0),
        )
        for name, part, count in (('a', 'head', 4), ('b', 'layer', 2))
    }
    figure = plot(norms, plan)
    assert len(figure.axes) == 4
    assert all(axes.get_xlabel() for axes in figure.axes) and figure.axes[0].get_ylabel()
    for axes, (name, measured) in zip(figure.axes[2:], norms.items(), strict=True):
        assert tuple(line.get_label() for line in axes.lines) == measured.stages
        assert all(np.array_equal(line.get_ydata(), np.full(3, 0.5)) for line in axes.lines)
        assert all(line.get_color() == SHADES[measured.parts[0]] for line in axes.lines)
        assert axes.get_title(loc='left').startswith(name)
    save_plot(figure, tmp_path / 'norms.png')
    assert (tmp_path / 'norms.png').stat().st_size > 10_000


@pytest.mark.parametrize(
    'field, value',
    [('steps', 0), ('batch', 1), ('side', 32), ('lr', 0.0), ('lr', float('nan')), ('seed', -1)],
)
def test_a_wrong_plan_is_named(field, value):
    with pytest.raises(FigureError, match=f'{field} = {value}'):
        TrainingPlan(**{field: value})
