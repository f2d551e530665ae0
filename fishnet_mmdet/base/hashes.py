"""Hashes of files."""

import hashlib
from collections.abc import Callable
from pathlib import Path

CHUNK = 2**20


def file_hash(path: Path, algorithm: str = 'sha256', progress: Callable[[int], object] = lambda done: None) -> str:
    """The hash of a file, in hexadecimal digits.

    Args:
        path: The file.
        algorithm: A name that `hashlib` knows.
        progress: Called with the number of bytes read so far.
    """
    digest, done = hashlib.new(algorithm), 0
    with path.open('rb') as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(done)
    return digest.hexdigest()
