"""The claim about gradients, checked on a built network: which stages they reach without passing a weight.

Two proofs that know nothing of each other:

* The walk. Autograd's graph of one forward pass holds every operation that ran. An operation counts as free
  only if it is one of `graph.FREE`: it adds, concatenates, pools, up-samples, sums channels or masks, and has
  no learnt weight. Anything else (convolution, norm, product with an attention) counts as weighted, whatever
  its module is called. Among all paths between two features the most direct one is that with the fewest
  convolutions, then the fewest other weights.
* The numbers. The weights of all convolutions and norms are set to zero (their biases to random values), so
  that only what avoids every one of them remains. A gradient of whole numbers is sent in at the output. Where
  it arrives in every channel and still in whole numbers (or in the fractions 1/2^n of average pooling and
  bilinear up-sampling), it came by copying, adding and choosing alone.

What is counted (paper section 3): an *isolated convolution*, I-conv, stands on a shortcut while a residual
branch goes round it: on the trunk's most direct path, and without it the stage's end still leads back to the
stage's beginning. FishNet has four: the first bottleneck of each tail stage, and of the bridge. A convolution
that nothing goes round is counted apart, as *plain*: the stem, and the two 1x1 convolutions by which the
bridge squeezes and expands before its bottlenecks. These two, and the product with the channel attention at
its end, are why the bridge is not free even but for its I-conv, and why the last tail stage, which only the
bridge takes on, is the one stage that no gradient reaches unchanged. (As the bridge's own refined feature
counts its output, behind the attention.)
"""

import copy
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.autograd.graph import Node

from fishnet_mmdet.lab.figures.backbones import FigureError
from fishnet_mmdet.lab.figures.graph import Graph, Route
from fishnet_mmdet.network.fishnet import FishNet

SIDE = 64
"""Side of the square image in pixels: 2 x 2 remains at 1/32."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One stage of a network.

    Attributes:
        name: 'tail 1'.
        part: stem, tail, bridge, body, head; layer in a ResNet.
        entry: Module whose first input is where the stage begins.
        exit: Module whose (last) output is where it ends.
        refined: Module whose output is the stage's own refined feature.
    """

    name: str
    part: str
    entry: nn.Module
    exit: nn.Module
    refined: nn.Module


@dataclass(frozen=True, kw_only=True)
class StageProof:
    """What is known of one stage.

    Attributes:
        name: As in `Place`.
        part: As in `Place`.
        trunk: The stage's own trunk, from its end back to its beginning.
        to_output: From the network's last feature back to the stage's refined feature.
        arrives: The numerical proof's word on the same: a gradient of whole numbers arrives in whole numbers.
    """

    name: str
    part: str
    trunk: Route
    to_output: Route
    arrives: bool

    @property
    def agrees(self) -> bool:
        """Whether both proofs say the same."""
        return self.to_output.is_free == self.arrives


def places(net: nn.Module) -> list[Place]:
    """The stages of a FishNet, or of a ResNet by mmdet, in the order in which the image meets them.

    Raises:
        FigureError: Another network.
    """
    if isinstance(net, FishNet):
        found = [Place(name='stem', part='stem', entry=net.stem, exit=net.stem, refined=net.stem)]
        for row, stage in net.stages:
            # The bridge's own refined feature is its output, behind the attention.
            refined = stage if row.part == 'bridge' else stage.refine
            found.append(Place(name=row.name, part=row.part, entry=stage, exit=stage, refined=refined))
        return found
    if hasattr(net, 'res_layers') and hasattr(net, 'maxpool') and hasattr(net, 'conv1'):
        found = [Place(name='stem', part='stem', entry=net.conv1, exit=net.maxpool, refined=net.maxpool)]
        for i, name in enumerate(net.res_layers, 1):
            layer = getattr(net, name)
            found.append(Place(name=f'layer {i}', part='layer', entry=layer, exit=layer, refined=layer))
        return found
    raise FigureError(f'a network of type {type(net).__name__} is not known here; FishNet and ResNet are')


def analyse(net: nn.Module) -> list[StageProof]:
    """Finds the I-convs of a network and the stages that gradients reach unchanged, by both proofs.

    Args:
        net: FishNet or mmdet's ResNet, with weights of any value; it is left as it is.
    """
    net = copy.deepcopy(net)
    net.eval()  # mmdet's ResNet returns nothing here; FishNet freezes again what is to be frozen
    net.requires_grad_(True)  # what takes no gradient would have no name in the graph
    stages = places(net)
    output, nodes = _run(net, stages)
    graph = Graph(net)
    findings = []
    arrived = _arrivals(net)
    for stage in stages:
        entry, end, refined = nodes[stage.name]
        findings.append(
            StageProof(
                name=stage.name,
                part=stage.part,
                trunk=graph.route(end, entry, stage.name),
                to_output=graph.route(output.grad_fn, refined, stage.name),
                arrives=arrived[stage.name],
            )
        )
    return findings


def _image(net: nn.Module) -> Tensor:
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    weight = first.weight
    return torch.randn(2, first.in_channels, SIDE, SIDE, dtype=weight.dtype, device=weight.device, requires_grad=True)


def _last(output: Tensor | Sequence[Tensor]) -> Tensor:
    return output if isinstance(output, Tensor) else output[-1]


def _run(net: nn.Module, stages: list[Place]) -> tuple[Tensor, dict[str, tuple[Node, Node, Node]]]:
    """One forward pass: the last feature, and where each stage begins, ends and is refined."""
    seen: dict[tuple[str, str], Node] = {}
    handles = []
    for stage in stages:
        name = stage.name
        handles += [
            stage.entry.register_forward_pre_hook(
                lambda _, args, name=name: seen.update({(name, 'entry'): args[0].grad_fn})
            ),
            stage.exit.register_forward_hook(
                lambda _, __, out, name=name: seen.update({(name, 'exit'): _last(out).grad_fn})
            ),
            stage.refined.register_forward_hook(
                lambda _, __, out, name=name: seen.update({(name, 'refined'): _last(out).grad_fn})
            ),
        ]
    output = _last(net(_image(net).clone()))  # a clone, for an image as such has no node
    for handle in handles:
        handle.remove()
    kinds = ('entry', 'exit', 'refined')
    return output, {s.name: tuple(seen[s.name, kind] for kind in kinds) for s in stages}


def _arrivals(net: nn.Module) -> dict[str, bool]:
    """The numerical proof. Double precision keeps whole numbers and halves exact."""
    generator = torch.Generator().manual_seed(0)
    net = copy.deepcopy(net).cpu().double()
    with torch.no_grad():
        for module in net.modules():
            for name, values in module.named_parameters(recurse=False):
                # Biases: the bridge's attention would be 1/2 without them, which is a fraction of copying and choosing.
                values.copy_(torch.rand(values.shape, generator=generator) if name == 'bias' else values * 0)

    probes: dict[str, Tensor] = {}

    def probe(name: str) -> Callable:
        def add(_: nn.Module, __: tuple, out: Tensor) -> Tensor:
            # Without it the features would be constant, and pooling would always choose the same corner.
            noise = torch.rand(out.shape, generator=generator).double()
            probes[name] = noise.requires_grad_(True)
            return out + probes[name]

        return add

    handles = [stage.refined.register_forward_hook(probe(stage.name)) for stage in places(net)]
    output = _last(net(_image(net)))
    for handle in handles:
        handle.remove()
    sent = torch.randint(1, 8, output.shape, generator=generator).double()  # positive: nothing cancels out
    gradients = torch.autograd.grad(output, list(probes.values()), sent, allow_unused=True)
    return {name: _in_whole_numbers(g) for name, g in zip(probes, gradients, strict=True)}


def _in_whole_numbers(gradient: Tensor | None) -> bool:
    """Something in every channel, and nothing but multiples of 2^-20."""
    if gradient is None or not (gradient.sum((0, 2, 3)) > 0).all():
        return False
    scaled = gradient * 2**20
    return torch.equal(scaled, scaled.round())


def parts(findings: Sequence[StageProof]) -> dict[str, list[StageProof]]:
    """StageProofs by part, in order."""
    return {part: [f for f in findings if f.part == part] for part in dict.fromkeys(f.part for f in findings)}


def i_convs(findings: Sequence[StageProof]) -> list[str]:
    """All I-convs on the trunk."""
    return [name for finding in findings for name in finding.trunk.i_convs]


def claim_fails(findings: Sequence[StageProof]) -> list[str]:
    """What speaks against the paper's claim, in words; an empty list where it holds.

    The claim: body and head have only identity, channel reduction, concatenation, pooling and up-sampling on
    the trunk, and gradients reach every stage of tail, body and head on such a path, unless an I-conv of tail
    or bridge stands there.
    """
    wrong = []
    known = {name for f in findings if f.part in ('tail', 'bridge') for name in f.trunk.i_convs}
    for f in findings:
        if not f.agrees:
            wrong.append(f'{f.name}: the walk and the numbers disagree')
        if f.part in ('body', 'head') and not f.trunk.is_free:
            on_it = ', '.join((*f.trunk.i_convs, *f.trunk.plain, *f.trunk.others))
            wrong.append(f'{f.name}: on its trunk stands {on_it}')
        crossed = set(f.to_output.i_convs)
        excused = f.part == 'tail' and crossed and crossed <= known
        if f.part in ('tail', 'body', 'head') and not (f.to_output.is_free or excused):
            wrong.append(f'{f.name}: gradients do not reach it unchanged')
    return wrong


def table(name: str, findings: Sequence[StageProof]) -> Table:
    """The findings, stage by stage, the parts under lines of their own."""
    shown = Table(title=f'{name}: {len(i_convs(findings))} I-convs', title_justify='left')
    for column in (
        'stage',
        "free on the trunk's direct path",
        'I-convs',
        'other weights',
        'gradients reach it',
    ):
        shown.add_column(column, overflow='fold', no_wrap=column in ('stage', 'I-convs'))
    for group in parts(findings).values():
        for f in group:
            free = ', '.join(f'{count} x {kind}' for kind, count in f.trunk.free.items())
            others = Counter((*f.trunk.plain, *(_shorten(name) for name in f.trunk.others)))
            weights = '\n'.join(f'{count} x norm' if n == 'norm' else n for n, count in others.items())
            shown.add_row(f.name, free or '-', '\n'.join(f.trunk.i_convs) or '-', weights or '-', verdict(f))
        shown.add_section()
    return shown


def _shorten(name: str) -> str:
    """A norm belongs to the convolution beside it; its full name would only fill the table."""
    return 'norm' if re.search(r'(norm|bn|downsample\.)\d*$', name) else name


def verdict(finding: StageProof) -> str:
    """In words, what stands between the output and the stage's refined feature."""
    if not finding.agrees:
        return 'the walk and the numbers disagree'
    if finding.arrives:
        return 'directly'
    route = finding.to_output
    counted = {'I-conv': len(route.i_convs), 'plain convolution': len(route.plain)}
    if not any(counted.values()):
        return f'through {", ".join(route.others)}'
    return 'through ' + ', '.join(f'{n} {kind}{"s" * (n > 1)}' for kind, n in counted.items() if n)
