"""The files of COCO 2017 that training needs, as data: addresses, sizes, checksums, numbers of files."""

from dataclasses import dataclass

MIRROR = 'https://s3.amazonaws.com/images.cocodataset.org'
"""The bucket of images.cocodataset.org by its other name, for which the server has a certificate."""


@dataclass(frozen=True)
class CocoPart:
    """One archive, and what it holds.

    Attributes:
        name: How users call it; also the folder that it unpacks to.
        place: Address below the mirror.
        size: Bytes of the archive.
        sha256: Its checksum.
        files: Number of files in it.
        unpacked: Bytes of these files, about: it is known exactly once the archive is there.
        needed: Names of files without which the part is not complete, among others in its folder.
    """

    name: str
    place: str
    size: int
    sha256: str
    files: int
    unpacked: int
    needed: tuple[str, ...] = ()

    @property
    def archive(self) -> str:
        """The name of the archive."""
        return self.place.rpartition('/')[2]


ROWS = (
    CocoPart(
        'annotations', 'annotations/annotations_trainval2017.zip', 252_907_541,
        '113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268', 6, 840_000_000,
        needed=('instances_train2017.json', 'instances_val2017.json'),
    ),
    CocoPart(
        'val2017', 'zips/val2017.zip', 815_585_330,
        '4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05', 5_000, 816_000_000,
    ),
    CocoPart(
        'train2017', 'zips/train2017.zip', 19_336_861_798,
        '69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929', 118_287, 19_340_000_000,
    ),
)  # fmt: skip
PARTS = {part.name: part for part in ROWS}
"""In the order of their sizes. COCO publishes no checksums: these are the ones on which independent projects agree."""
