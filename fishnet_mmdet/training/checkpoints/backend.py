"""MMEngine's local files, written atomically."""

from pathlib import Path

import mmengine.fileio
from mmengine.fileio import LocalBackend

from fishnet_mmdet.base.atomic import write_atomically


class AtomicBackend(LocalBackend):
    """MMEngine's local backend with atomic writing; use it as `backend_args=dict(backend='atomic')`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes bytes; see `write_atomically`."""
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Writes text; see `write_atomically`."""
        write_atomically(filepath, obj.encode(encoding))


mmengine.fileio.register_backend('atomic', AtomicBackend, force=True)
