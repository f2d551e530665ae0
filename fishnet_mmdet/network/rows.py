"""A stage as one row of numbers: its module, its drawing and the gradient check are made from it.

A level is a resolution: levels 0 to 3 are 1/4, 1/8, 1/16 and 1/32 as released, which are stages 1 to 4 of the paper.
"""

from dataclasses import dataclass

Three = tuple[int, int, int]

DILATIONS: dict[str, tuple[Three, Three]] = {
    'none': ((1, 1, 1), (1, 1, 1)),
    'body': ((1, 2, 4), (1, 1, 1)),
    'body_head': ((1, 2, 4), (4, 2, 1)),
}
"""Dilation of the 3x3 convolutions of the body's stages, going up, and of the head's, going down."""


@dataclass(frozen=True)
class TransferRow:
    """A transfer block, the T(.) of eq. 6 and 9: it carries an older feature to the end of a stage.

    Attributes:
        source: Name of the stage whose feature it carries.
        width: Channels of that feature; they stay.
        blocks: Number of bottlenecks.
        level: Resolution of that feature; it stays.
        group_width: Width of a group of its 3x3 convolutions; 0 where they are not grouped.
    """

    source: str
    width: int
    blocks: int
    level: int
    group_width: int


@dataclass(frozen=True)
class StageRow:
    """A stage of tail, bridge, body or head: all that its module, its drawing and its counts need.

    Attributes:
        name: 'tail 1', 'bridge', 'body 3', ...; numbered in the order of the forward pass.
        in_width: Channels that enter.
        width: Channels that leave its bottlenecks.
        blocks: Number of bottlenecks.
        level: Resolution at which its bottlenecks work.
        out_level: Resolution after up- or down-sampling.
        dilation: Dilation of its 3x3 convolutions.
        group_width: Width of a group of its 3x3 convolutions; 0 where they are not grouped.
        transfer: The transfer block whose output is concatenated at the end; None in tail and bridge.
    """

    name: str
    in_width: int
    width: int
    blocks: int
    level: int
    out_level: int
    dilation: int = 1
    group_width: int = 0
    transfer: TransferRow | None = None

    @property
    def part(self) -> str:
        """Tail, bridge, body or head."""
        return self.name.split()[0]

    @property
    def out_width(self) -> int:
        """Channels that leave the stage, concatenation included."""
        return self.width + (self.transfer.width if self.transfer else 0)


class Rows:
    """What follows from the fields of `FishNetArch`, its subclass: strides, and one row for each stage."""

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """Stride of each level: 4, 8, 16, 32 as released."""
        one = self.stem_stride
        return (one, 2 * one, 4 * one, 8 * one)

    @property
    def group_widths(self) -> tuple[int, int, int, int]:
        """Width of a group of a 3x3 convolution at each level; zeros where nothing is grouped."""
        one = self.group_width
        return (one, 2 * one, 4 * one, 8 * one)

    @property
    def tail_rows(self) -> tuple[StageRow, ...]:
        """The tail's stages, going down: 128 @ 1/8, 256 @ 1/16, 512 @ 1/32 as released."""
        widths = (self.stem_width, *self.tail_widths)
        rows = zip(range(3), widths, self.tail_widths, self.tail, self.group_widths, strict=False)
        return tuple(
            StageRow(f'tail {i + 1}', in_width, width, blocks, level=i, out_level=i + 1, group_width=groups)
            for i, in_width, width, blocks, groups in rows
        )

    @property
    def bridge_row(self) -> StageRow:
        """The bridge: 512 @ 1/32 as released."""
        width, groups = self.tail_widths[-1], self.group_widths[3]
        return StageRow('bridge', width, width, self.bridge, level=3, out_level=3, group_width=groups)

    @property
    def body_rows(self) -> tuple[StageRow, ...]:
        """The body's stages, going up: 768 @ 1/16, 512 @ 1/8, 320 @ 1/4 as released."""
        tail_1, tail_2, _ = self.tail_rows
        skips = (('tail 2', tail_2.width), ('tail 1', tail_1.width), ('stem', self.stem_width))
        dilations, _ = DILATIONS[self.dilation]
        rows, before = [], self.bridge_row
        for i, (source, width) in enumerate(skips):
            level, out_level = 3 - i, 2 - i
            place = dict(level=level, out_level=out_level, dilation=dilations[i], group_width=self.group_widths[level])
            transfer = TransferRow(source, width, self.body_transfer[i], out_level, self.group_widths[out_level])
            before = StageRow(
                f'body {i + 1}', before.out_width, self.body_widths[i], self.body[i], transfer=transfer, **place
            )
            rows.append(before)
        return tuple(rows)

    @property
    def head_rows(self) -> tuple[StageRow, ...]:
        """The head's stages, going down: 832 @ 1/8, 1600 @ 1/16, 2112 @ 1/32 as released."""
        body_1, body_2, body_3 = self.body_rows
        skips = (('body 2', body_2.out_width), ('body 1', body_1.out_width), ('bridge', self.bridge_row.width))
        _, dilations = DILATIONS[self.dilation]
        rows, before = [], body_3
        for i, (source, width) in enumerate(skips):
            place = dict(level=i, out_level=i + 1, dilation=dilations[i], group_width=self.group_widths[i])
            transfer = TransferRow(source, width, self.head_transfer[i], i + 1, self.group_widths[i + 1])
            before = StageRow(
                f'head {i + 1}', before.out_width, before.out_width, self.head[i], transfer=transfer, **place
            )
            rows.append(before)
        return tuple(rows)

    @property
    def rows(self) -> tuple[StageRow, ...]:
        """Every stage after the stem, in the order of the forward pass."""
        return (*self.tail_rows, self.bridge_row, *self.body_rows, *self.head_rows)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """What a neck gets: the widths of head stages 1-3 and of the last concatenation.

        320 @ 1/4, 832 @ 1/8, 1600 @ 1/16, 2112 @ 1/32 as released.
        """
        head = self.head_rows
        return (*(row.width for row in head), head[-1].out_width)
