"""The paper's claim about gradients, checked on a built network: which stages they reach without passing a weight.

There are two independent proofs:

* The graph. Autograd's graph of one forward pass contains every operation that ran. An operation is free if it is in
  `graph.FREE`: it adds, concatenates, pools, up-samples, sums channels or masks, and has no learnt weight. Any other
  operation (convolution, norm, product with an attention) is weighted. The most direct path between two features is
  the path with the fewest convolutions, then the fewest other weighted operations.
* The numbers. The weights of all convolutions and norms are set to zero (their biases to random values), so that only
  paths without weights pass a gradient. A gradient of whole numbers is sent in at the output. If it arrives at a stage
  in every channel, and in whole numbers (or in the fractions 1/2^n of average pooling and bilinear up-sampling), it
  came only through copying, adding and choosing.

Convolutions are counted as in section 3 of the paper. An *isolated convolution*, or I-conv, is on the most direct path
of a trunk, and a residual branch bypasses it: without the convolution, a path from the end of the stage to its
beginning remains. FishNet has four: in the first bottleneck of each tail stage and of the bridge. A convolution without
a bypass is counted as *plain*: the stem's, and the two 1x1 convolutions with which the bridge squeezes and expands its
input. Because of these two and of the product with the channel attention, the bridge has weights on its trunk besides
its I-conv. Therefore the last tail stage, whose feature goes only into the bridge, is the one stage that no gradient
reaches unchanged. The bridge's own refined feature is its output, after the attention.
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
        entry: Module whose first input is the input of the stage.
        exit: Module whose output, or last output, is the output of the stage.
        refined: Module whose output is the refined feature of the stage.
    """

    name: str
    part: str
    entry: nn.Module
    exit: nn.Module
    refined: nn.Module


@dataclass(frozen=True, kw_only=True)
class StageProof:
    """The result of both proofs for one stage.

    Attributes:
        name: As in `Place`.
        part: As in `Place`.
        trunk: Path from the output of the stage back to its input.
        to_output: Path from the network's last feature back to the refined feature of the stage.
        arrives: Result of the numerical proof: a gradient of whole numbers arrives in whole numbers.
    """

    name: str
    part: str
    trunk: Route
    to_output: Route
    arrives: bool

    @property
    def agrees(self) -> bool:
        """Whether both proofs have the same result."""
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
    raise FigureError(f'network of type {type(net).__name__}: give FishNet or ResNet; others cannot be analysed')


def analyse(net: nn.Module) -> list[StageProof]:
    """Finds the I-convs of a network and the stages that gradients reach unchanged, by both proofs.

    Args:
        net: FishNet or mmdet's ResNet, with any weights; it is not changed.
    """
    net = copy.deepcopy(net)
    net.eval()  # mmdet's ResNet returns nothing here; FishNet freezes its frozen parts again
    net.requires_grad_(True)  # a parameter without gradient has no name in the graph
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
    """One forward pass: the last feature, and the nodes of each stage's input, output and refined feature."""
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
    output = _last(net(_image(net).clone()))  # a clone, because a leaf has no node
    for handle in handles:
        handle.remove()
    kinds = ('entry', 'exit', 'refined')
    return output, {s.name: tuple(seen[s.name, kind] for kind in kinds) for s in stages}


def _arrivals(net: nn.Module) -> dict[str, bool]:
    """The numerical proof, in double precision, in which whole numbers and halves are exact."""
    generator = torch.Generator().manual_seed(0)
    net = copy.deepcopy(net).cpu().double()
    with torch.no_grad():
        for module in net.modules():
            for name, values in module.named_parameters(recurse=False):
                # Without biases the bridge's attention would be 1/2, which counts as copying and choosing.
                values.copy_(torch.rand(values.shape, generator=generator) if name == 'bias' else values * 0)

    probes: dict[str, Tensor] = {}

    def probe(name: str) -> Callable:
        def add(_: nn.Module, __: tuple, out: Tensor) -> Tensor:
            # Without noise the features would be constant, and pooling would always choose the same corner.
            noise = torch.rand(out.shape, generator=generator).double()
            probes[name] = noise.requires_grad_(True)
            return out + probes[name]

        return add

    handles = [stage.refined.register_forward_hook(probe(stage.name)) for stage in places(net)]
    output = _last(net(_image(net)))
    for handle in handles:
        handle.remove()
    sent = torch.randint(1, 8, output.shape, generator=generator).double()  # positive, so that nothing cancels out
    gradients = torch.autograd.grad(output, list(probes.values()), sent, allow_unused=True)
    return {name: _in_whole_numbers(g) for name, g in zip(probes, gradients, strict=True)}


def _in_whole_numbers(gradient: Tensor | None) -> bool:
    """Whether every channel has a gradient, and all values are multiples of 2^-20."""
    if gradient is None or not (gradient.sum((0, 2, 3)) > 0).all():
        return False
    scaled = gradient * 2**20
    return torch.equal(scaled, scaled.round())


def parts(findings: Sequence[StageProof]) -> dict[str, list[StageProof]]:
    """The stages by part, in order."""
    return {part: [f for f in findings if f.part == part] for part in dict.fromkeys(f.part for f in findings)}


def i_convs(findings: Sequence[StageProof]) -> list[str]:
    """All I-convs on the trunk."""
    return [name for finding in findings for name in finding.trunk.i_convs]


def claim_fails(findings: Sequence[StageProof]) -> list[str]:
    """The reasons why the paper's claim does not hold, as sentences; an empty list if it holds.

    The claim: the trunks of body and head have only identity, channel reduction, concatenation, pooling and
    up-sampling, and gradients reach every stage of tail, body and head on such a path. A tail stage may have I-convs
    of tail and bridge on the path.
    """
    wrong = []
    known = {name for f in findings if f.part in ('tail', 'bridge') for name in f.trunk.i_convs}
    for f in findings:
        if not f.agrees:
            wrong.append(f'{f.name}: the two proofs disagree')
        if f.part in ('body', 'head') and not f.trunk.is_free:
            on_it = ', '.join((*f.trunk.i_convs, *f.trunk.plain, *f.trunk.others))
            wrong.append(f'{f.name}: weights on its trunk: {on_it}')
        crossed = set(f.to_output.i_convs)
        excused = f.part == 'tail' and crossed and crossed <= known
        if f.part in ('tail', 'body', 'head') and not (f.to_output.is_free or excused):
            wrong.append(f'{f.name}: gradients do not reach it unchanged')
    return wrong


def table(name: str, findings: Sequence[StageProof]) -> Table:
    """The results as a table, one row for each stage."""
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
    """The name of a weighted operation; every norm is called 'norm', because full names would fill the table."""
    return 'norm' if re.search(r'(norm|bn|downsample\.)\d*$', name) else name


def verdict(finding: StageProof) -> str:
    """What is between the output and the refined feature of a stage, as text."""
    if not finding.agrees:
        return 'the two proofs disagree'
    if finding.arrives:
        return 'directly'
    route = finding.to_output
    counted = {'I-conv': len(route.i_convs), 'plain convolution': len(route.plain)}
    if not any(counted.values()):
        return f'through {", ".join(route.others)}'
    return 'through ' + ', '.join(f'{n} {kind}{"s" * (n > 1)}' for kind, n in counted.items() if n)
