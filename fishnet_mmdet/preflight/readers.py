"""Decodes image files as a pipeline does: what its reader decodes is an image."""

from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np

MAX_BYTES = 2**30
"""Larger files are not handed to a reader after Pillow has refused them."""


@dataclass(frozen=True)
class Reader:
    """The reader of a pipeline, as in the arguments of mmcv's `LoadImageFromFile`.

    Attributes:
        backend: Its `imdecode_backend`: 'cv2', 'pillow', 'tifffile' or 'turbojpeg'.
        flag: Its `color_type`.
    """

    backend: str = 'cv2'
    flag: str = 'color'

    @property
    def name(self) -> str:
        """What messages call it."""
        return {'cv2': 'OpenCV', 'pillow': 'Pillow'}.get(self.backend, self.backend)

    @property
    def rotates(self) -> bool:
        """Whether it rotates images by their EXIF tag."""
        return self.flag in ('color', 'grayscale') and self.backend in ('cv2', 'pillow')

    def read(self, path: Path | str) -> tuple[np.ndarray | None, str]:
        """Decodes a file.

        Args:
            path: The file.

        Returns:
            The image, (H, W) or (H, W, channels), and ''; or None and the reason.
        """
        try:
            image = mmcv.imfrombytes(Path(path).read_bytes(), self.flag, backend=self.backend)
        # Each backend raises exceptions of its own.
        except Exception as error:
            return None, f'{self.name} does not read it: {error or type(error).__name__}'
        return image, '' if image is not None else f'{self.name} does not read it'

    def applies_exif(self, path: Path | str) -> bool:
        """Whether the EXIF tag of a file changes what is read."""
        if not self.rotates:
            return True
        turned, _ = self.read(path)
        stored, _ = Reader(self.backend, f'{self.flag}_ignore_orientation').read(path)
        return turned is None or stored is None or not np.array_equal(turned, stored)


def is_cut(content: bytes) -> bool:
    """Whether the bytes of a PNG, GIF, WebP or JPEG 2000 file end before the file does."""
    if content.startswith(b'\x89PNG'):
        return b'IEND\xaeB`\x82' not in content
    if content.startswith(b'GIF8'):
        return not content.rstrip(b'\0').endswith(b';')
    if content.startswith(b'RIFF'):
        return int.from_bytes(content[4:8], 'little') + 8 > len(content)
    if content[4:8] == b'jP  ':
        return not content.rstrip(b'\0').endswith(b'\xff\xd9')
    return False


def png_pixels(head: bytes) -> int:
    """Number of pixels that the first 24 bytes of a PNG say it has; 0 for other formats."""
    if not head.startswith(b'\x89PNG'):
        return 0
    return int.from_bytes(head[16:20], 'big') * int.from_bytes(head[20:24], 'big')
