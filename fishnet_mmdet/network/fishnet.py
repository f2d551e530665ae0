"""The FishNet backbone: tail, bridge, body and head in one forward that reads like figure 2 of the paper.

Paper: FishNet: A Versatile Backbone for Image, Region, and Pixel Level Prediction (arXiv 1901.03495).
"""

from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModule, PretrainedInit, initialize
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.network.arch import FishNetArch, resolve_arch
from fishnet_mmdet.network.arch_checks import check_norm
from fishnet_mmdet.network.blocks import Bottleneck, PreActConv, build_norm
from fishnet_mmdet.network.ops.memory_format import memory_format_of, out_of_channels_last
from fishnet_mmdet.network.rows import StageRow
from fishnet_mmdet.network.stages import (
    Body,
    BodyStage,
    Bridge,
    ConvNormReLU,
    Head,
    HeadStage,
    Levels,
    Stem,
    Tail,
    TailStage,
)
from fishnet_mmdet.network.zero_residuals import ZeroResiduals

KAIMING_INIT = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
]
SCRATCH_INIT = [*KAIMING_INIT, dict(type=ZeroResiduals)]

RECOMPUTED = {
    'norm': (ConvNormReLU, PreActConv),
    'bottleneck': (ConvNormReLU, Bottleneck),
    'stage': (Stem, TailStage, Bridge, BodyStage, HeadStage),
}
"""What each value of `with_cp` recomputes in backward. Later values save more memory and cost more time."""


@MODELS.register_module()
class FishNet(BaseModule):
    """FishNet, whose head keeps every resolution; gradients reach all stages unchanged but the last of the tail.

    Args:
        arch: A name of `ARCHS` ('fishnet99', 'fishnet150', 'fishnet201', short '99', '150', '201'; 'fishnext150', ...),
            or an architecture of one's own: a dict of the fields of `FishNetArch`, or of those in which it differs from
            a named one: `dict(base='fishnet150', down='avg2')`.
        in_channels: Channels of the image.
        out_indices: Which levels to return, of 0 to 3: the refined features of head stages 1-3 before down-sampling,
            and the last concatenation (paper 4.4: FPN is attached to the fish head).
        frozen_stages: Parts that training must not change: -1 none, 0 the stem, s = 1 to 3 also the tail stages up to
            s, 4 the whole backbone. They take no gradient and their norms stay in eval mode.
        norm_cfg: Norm of all five parts. `requires_grad=False` fixes its affine parameters.
        norm_eval: Whether BN layers stay in eval mode in training, with their statistics fixed.
        with_cp: What backward recomputes instead of keeping: 'norm' (norms and ReLUs: half the memory under live BN),
            'bottleneck' (or True, as in MMDetection's ResNet), 'stage' (whole stages: a tenth), or False for nothing.
            Features are the same bit for bit.
        channels_last: Whether to compute in channels_last, which is faster on CPUs and tensor cores. Levels leave in
            the memory format of the image; see the hook `ChannelsLast` for whole detectors.
        compile: Whether to compile the backbone (`torch.compile`, each of its five parts in one graph, for images of
            any size), or options of `torch.compile` as a dict. Implies `channels_last`. The first iteration takes
            minutes.
        init_cfg: Where weights come from; by default random, for training from scratch: Kaiming, with zeros at the end
            of each bottleneck (`ZeroResiduals`). `Pretrained` takes a name (`fishnet://fishnet150-imagenet`) or any
            file of FishNet weights, which must fit key for key.

    Attributes:
        out_channels: Channels of each returned level, as a neck's `in_channels` needs them.
        out_strides: Stride of each returned level.

    Raises:
        ConfigError: An argument that cannot be built; the message names it and lists what is allowed.

    Examples:
        >>> import torch
        >>> from fishnet_mmdet import FishNet
        >>> fish = FishNet('fishnet150').eval()
        >>> for level in fish(torch.rand(1, 3, 224, 320)):
        ...     print(tuple(level.shape))
        (1, 320, 56, 80)
        (1, 832, 28, 40)
        (1, 1600, 14, 20)
        (1, 2112, 7, 10)
    """

    def __init__(
        self,
        arch: str | Mapping | FishNetArch = 'fishnet150',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_cfg: Mapping | None = None,
        norm_eval: bool = False,
        with_cp: bool | str = False,
        channels_last: bool = False,
        compile: bool | Mapping = False,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
    ) -> None:
        super().__init__(init_cfg=SCRATCH_INIT if init_cfg is None else init_cfg)
        norm = dict(type='BN') if norm_cfg is None else norm_cfg
        self.arch = a = resolve_arch(arch)
        _check_levels(in_channels, out_indices, frozen_stages)
        _check_options(norm, with_cp, compile)
        check_norm(a, norm)
        self.out_indices = tuple(out_indices)
        self.out_channels = tuple(a.out_channels[i] for i in self.out_indices)
        self.out_strides = tuple(a.strides[i] for i in self.out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

        self.stem = Stem(in_channels, a.stem_width, norm, kind=a.stem, stride=a.stem_stride)
        self.tail = Tail(TailStage(row, norm, a.down) for row in a.tail_rows)
        self.bridge = Bridge(a.bridge_row, norm, a.attention)
        self.body = Body(BodyStage(row, norm, a.up) for row in a.body_rows)
        self.head = Head(HeadStage(row, norm, a.down) for row in a.head_rows)
        self.levels = Levels(build_norm(norm, width) for width in self.out_channels if a.levels == 'norm_relu')

        self._recompute(with_cp)
        self._freeze()
        # With contiguous weights, a compiled graph would choose its memory format again for each size of image.
        self.channels_last = channels_last or compile is not False  # an empty dict compiles too
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        if compile is not False:
            self.compile_parts(dict(dynamic=True) | (compile if isinstance(compile, Mapping) else {}))

    @property
    def stages(self) -> list[tuple[StageRow, nn.Module]]:
        """Every stage after the stem with its row, in the order in which the image meets them."""
        return list(zip(self.arch.rows, (*self.tail, self.bridge, *self.body, *self.head), strict=True))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter, for layer-wise decay of the learning rate by mmpretrain's optimizer constructor.

        Args:
            param_name: Name of the parameter in its model.
            prefix: Name of the backbone in that model, such as `backbone.`.

        Returns:
            The depth, 0 in the stem and one more in each stage that the image meets, and the number of depths. The last
            depth is that of everything behind the backbone.
        """
        first = {'stem': 0, 'tail': 1, 'bridge': 4, 'body': 5, 'head': 8}
        number = len(self.stages) + 2
        part, _, rest = param_name.removeprefix(prefix).partition('.')
        if not param_name.startswith(prefix) or part not in first:
            return number - 1, number
        stage = rest.partition('.')[0]
        return first[part] + (int(stage) if part in ('tail', 'body', 'head') else 0), number

    def compile_parts(self, options: Mapping) -> None:
        """Compiles each of the five parts, in place, with these options of `torch.compile`.

        In one graph, the symbolic shapes of images of any size would grow too long.
        """
        for part in self.children():
            part.compile(**options)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """From an image batch to the levels of `out_indices`.

        Args:
            image: (N, in_channels, H, W), any H and W.

        Returns:
            The i-th map is (N, out_channels[i], H / s, W / s) with s = out_strides[i]; sides are rounded up.
        """
        if self.channels_last:
            memory_format = memory_format_of(image)
            image = image.contiguous(memory_format=torch.channels_last)

        *tail, deepest = self.tail(self.stem(image))  # 64 @ 1/4, 128 @ 1/8, 256 @ 1/16; 512 @ 1/32
        body = self.body(self.bridge(deepest), tail)  # 512 @ 1/32, 768 @ 1/16, 512 @ 1/8, 320 @ 1/4
        levels = self.head(body)  # 320 @ 1/4, 832 @ 1/8, 1600 @ 1/16, 2112 @ 1/32

        levels = self.levels([levels[i] for i in self.out_indices])
        if self.channels_last:
            levels = [out_of_channels_last(x, memory_format) for x in levels]
        return tuple(levels)

    def init_weights(self) -> None:
        """Draws random weights, or loads those of `init_cfg=dict(type='Pretrained', checkpoint=...)`.

        Raises:
            WeightsError: The file cannot be found or read, or is not of this network; MMEngine's own loading would warn
                and train on with random weights.
        """
        configs = [self.init_cfg] if isinstance(self.init_cfg, Mapping) else self.init_cfg
        pretrained = next((c for c in configs if c['type'] in ('Pretrained', PretrainedInit)), None)
        if pretrained is None:
            # Random numbers are drawn in the order of memory: the format must not decide which weight gets which.
            if self.channels_last:
                self.to(memory_format=torch.contiguous_format)
            super().init_weights()
            if self.channels_last:
                self.to(memory_format=torch.channels_last)
        else:
            initialize(self, {**pretrained, 'type': 'FishNetPretrained'})

    def train(self, mode: bool = True) -> 'FishNet':
        """Sets the mode as torch does, except for frozen parts and, under `norm_eval`, every BN."""
        super().train(mode)
        self._freeze()
        if self.norm_eval:
            for layer in self.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def _recompute(self, with_cp: bool | str) -> None:
        grain = {True: 'bottleneck', False: None}.get(with_cp, with_cp)
        for part in self.modules():
            if grain and isinstance(part, RECOMPUTED[grain]):
                part.with_cp = True

    def _freeze(self) -> None:
        parts = self.children() if self.frozen_stages == 4 else (self.stem, *self.tail)[: self.frozen_stages + 1]
        for part in parts:
            part.eval().requires_grad_(False)
        # Parts that no returned level depends on take no gradient, so that DDP does not look for it.
        last = max(self.out_indices)
        for level, stage in enumerate(self.head):
            if level >= last:
                stage.transfer.requires_grad_(False)
                stage.down.requires_grad_(False)
            if level > last:
                stage.refine.requires_grad_(False)


def _check_levels(in_channels: int, out_indices: Sequence[int], frozen_stages: int) -> None:
    if type(in_channels) is not int or in_channels < 1:
        raise ConfigError(f'in_channels = {in_channels!r} must be an integer of at least 1')
    indices = list(out_indices) if isinstance(out_indices, Sequence) else []
    are_integers = all(type(i) is int for i in indices)
    if not indices or not are_integers or indices != sorted(set(indices) & set(range(4))):
        raise ConfigError(
            f'out_indices = {out_indices!r} must be increasing indices out of 0, 1, 2, 3: '
            'head stages 1-3 before down-sampling, and the last concatenation'
        )
    if type(frozen_stages) is not int or frozen_stages not in range(-1, 5):
        raise ConfigError(
            f'frozen_stages = {frozen_stages!r} must be -1 (nothing), 0 (the stem), 1, 2, 3 (also the tail stages up '
            'to that one) or 4 (the whole backbone)'
        )


def _check_options(norm_cfg: Mapping, with_cp: bool | str, compile: bool | Mapping) -> None:
    if not isinstance(norm_cfg, Mapping) or 'type' not in norm_cfg:
        raise ConfigError(f"norm_cfg = {norm_cfg!r} must be a dict with a type, such as dict(type='BN')")
    if with_cp not in (False, True, *RECOMPUTED):
        raise ConfigError(f'with_cp = {with_cp!r} must be False, True or one of {", ".join(RECOMPUTED)}')
    if not isinstance(compile, bool | Mapping):
        raise ConfigError(f'compile = {compile!r} must be True, False or a dict of options of torch.compile')
