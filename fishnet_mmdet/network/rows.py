"""A stage as one row: what its module, its drawing, its counts and the proof about its gradients read.

A level is a resolution: levels 0 to 3 are 1/4, 1/8, 1/16 and 1/32 as released, which are stages 1 to 4 of the paper.
"""

from dataclasses import dataclass


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
        name: 'tail 1', 'bridge', 'body 3', ...; numbers follow the way of the image.
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
