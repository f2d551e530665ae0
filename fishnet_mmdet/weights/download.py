"""Downloads weights into torch's hub cache: HTTPS only, resumed after an interruption, checked before use."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch.hub
from filelock import FileLock
from mmengine.logging import print_log

from fishnet_mmdet.base.hashes import file_hash
from fishnet_mmdet.base.transfer import Transfer, TransferError
from fishnet_mmdet.weights.catalogue import CATALOGUE, SCHEME, NamedWeights
from fishnet_mmdet.weights.containers import sniff, unpack
from fishnet_mmdet.weights.errors import WeightsError

MAX_BYTES = 2**30
"""Limit on the size of a download. The largest released file has a few hundred megabytes."""

HASH_IN_NAME = re.compile(r'-([0-9a-f]{8,})\.\w+$')
"""The beginning of a file's SHA-256 in its name, as `torch.hub` writes it."""


def cache_folder() -> Path:
    """The folder of downloads: torch's hub cache, which TORCH_HOME moves."""
    return Path(torch.hub.get_dir()) / 'checkpoints'


def path_of_url(url: str) -> Path:
    """Where the download of an address is kept."""
    # Different addresses often end in the same file name.
    mark = hashlib.sha256(url.encode()).hexdigest()[:8]
    return cache_folder() / f'{mark}-{PurePosixPath(urlparse(url).path).name}'


def obtain(weights: NamedWeights) -> Path:
    """Finds the file of an entry of the catalogue, and downloads it if it is not in the cache.

    If several processes ask at once, one downloads and the others wait.

    Raises:
        WeightsError: There is no network, the address gives another file, or the checksum is wrong. The message names
            the addresses, the expected checksum, and the path where a file can be put by hand.
    """
    named = CATALOGUE.items()
    others = [f'{SCHEME}{name}' for name, other in named if other.arch == weights.arch and other.urls != weights.urls]
    hint = f'Other weights of {weights.arch}: {", ".join(others)}' if others else ''
    return _obtain(weights.urls, cache_folder() / weights.file, weights.checksum, hint)


def obtain_url(url: str) -> Path:
    """Finds the file of an HTTPS address, downloads it if it is not in the cache, and prints its SHA-256.

    A file that `torch.hub` or MMEngine has downloaded is taken if its name holds the beginning of its SHA-256, as those
    of OpenMMLab do.

    Raises:
        WeightsError: As `obtain`.
    """
    path = path_of_url(url)
    if not path.exists():
        of_hub = cache_folder() / PurePosixPath(urlparse(url).path).name
        stated = HASH_IN_NAME.search(of_hub.name)
        if stated and of_hub.is_file() and file_hash(of_hub).startswith(stated[1]):
            return of_hub
    return _obtain((url,), path, None)


def _obtain(urls: Sequence[str], path: Path, checksum: str | None, hint: str = '') -> Path:
    # Before any lock: a shared folder may be read-only, and a file gets its name when it is whole.
    if path.exists():
        _verify(path, checksum, f'delete or replace {path} (its source: {", ".join(urls)})')
        return path
    lock = FileLock(f'{path}.lock')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise WeightsError(
            f'{path.name} is not in {path.parent}, which cannot be written to: {error.strerror}. TORCH_HOME names '
            'another folder for downloads'
        ) from error
    reasons = []
    try:
        # Another process may have been first.
        if path.exists():
            return _obtain(urls, path, checksum, hint)
        for url in urls:
            try:
                _download(url, path, checksum)
                return path
            except (WeightsError, TransferError) as error:
                reasons.append(f'  {url}: {error}')
    finally:
        lock.release()
    raise WeightsError(
        f'{path.name} could not be downloaded.\n' + '\n'.join(reasons) + '\n'
        f'Put the file there by hand: {path}\n'
        f'Expected checksum: {checksum or "none is published; the SHA-256 of the file will be printed"}'
        + (f'\n{hint}' if hint else '')
    )


def _download(url: str, path: Path, checksum: str | None) -> None:
    """Downloads a file, unpacks it if it is a zip, checks it, and only then moves it into place."""
    part = path.with_name(f'{path.name}.part')
    if not checksum:
        # Without a checksum, a wrong join of an old part and a new rest would go unnoticed.
        part.unlink(missing_ok=True)
    Transfer(url, part, max_bytes=MAX_BYTES).run()
    ready = path.with_name(f'{path.name}.ready')
    try:
        if sniff(part) == 'zip of a file':
            unpack(part, ready)
            sniff(ready)
        else:
            os.replace(part, ready)
        _verify(ready, checksum, 'the download is removed')
        with ready.open('rb') as file:
            os.fsync(file.fileno())
        os.replace(ready, path)
    finally:
        ready.unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def _verify(path: Path, checksum: str | None, fix: str) -> None:
    if not checksum:
        print_log(f'{path.name}: no checksum is published; sha256:{file_hash(path)}', logger='current')
        return
    algorithm, _, expected = checksum.partition(':')
    actual = file_hash(path, algorithm)
    if actual != expected:
        raise WeightsError(f'wrong checksum: expected {checksum}, the file has {algorithm}:{actual}; {fix}')
