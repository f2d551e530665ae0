"""What an annotation is checked against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fishnet_mmdet.preflight.contents import ImageEntry, Use
from fishnet_mmdet.preflight.findings import Finding, Source

Placed = tuple[int, Mapping]
"""An entry with its index in the file."""


@dataclass(frozen=True)
class FileContext:
    """What an annotation is checked against: the rest of its file, and what the file is needed for."""

    source: Source
    use: Use
    images: Mapping[int | str, ImageEntry]
    categories: Sequence[tuple[int, str]]

    @property
    def list_name(self) -> str:
        """What findings call the list of entries."""
        return 'segments' if self.use.panoptic else 'annotations'

    @cached_property
    def known(self) -> set[int]:
        """Ids of all categories."""
        return {key for key, _ in self.categories}

    @cached_property
    def wanted(self) -> set[int]:
        """Ids of the categories that are not left out on purpose."""
        return {key for key, name in self.categories if name not in self.use.ignored}

    def image_of(self, entry: Mapping) -> ImageEntry:
        """The image of a valid annotation."""
        return self.images[entry['image_id']]

    def finding(self, kind: str, detail: str, placed: Placed) -> Finding:
        """A finding about an annotation whose own fields are well formed."""
        place, entry = placed
        return self.source.of_entry(kind, detail, (self.list_name, place), entry['image_id'], entry['id'])
