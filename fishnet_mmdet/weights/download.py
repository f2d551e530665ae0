"""Downloads weights into torch's hub cache: HTTPS only, resumed after an interruption, checked before use."""

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch.hub
from filelock import FileLock
from mmengine.logging import print_log
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from fishnet_mmdet.weights.catalogue import NamedWeights
from fishnet_mmdet.weights.containers import sniff, unpack
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.hashes import file_hash

MAX_BYTES = 2**30
"""Limit on the size of a download. The largest released file has a few hundred megabytes."""

ATTEMPTS = 5
TIMEOUT_S = 30
CHUNK = 2**18


def cache_folder() -> Path:
    """The folder of downloads: torch's hub cache, which TORCH_HOME moves."""
    return Path(torch.hub.get_dir()) / 'checkpoints'


def obtain(weights: NamedWeights) -> Path:
    """Finds the file of an entry of the catalogue, and downloads it if it is not in the cache.

    If several processes ask at once, one downloads and the others wait.

    Raises:
        WeightsError: There is no network, the address gives another file, or the checksum is wrong. The message names
            the addresses, the expected checksum, and the path where a file can be put by hand.
    """
    return _obtain(weights.urls, cache_folder() / weights.file, weights.checksum)


def obtain_url(url: str) -> Path:
    """Finds the file of an HTTPS address, downloads it if it is not in the cache, and prints its SHA-256.

    Raises:
        WeightsError: As `obtain`.
    """
    # Different addresses often end in the same file name.
    mark = hashlib.sha256(url.encode()).hexdigest()[:8]
    return _obtain((url,), cache_folder() / f'{mark}-{PurePosixPath(urlparse(url).path).name}', None)


def _obtain(urls: Sequence[str], path: Path, checksum: str | None) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f'the folder {path.parent} for downloads cannot be created: {error.strerror}. TORCH_HOME names another one'
        ) from error
    with FileLock(f'{path}.lock'):
        if path.exists():
            _verify(path, checksum, f'delete or replace {path} (its source: {", ".join(urls)})')
            return path
        reasons = []
        for url in urls:
            try:
                _download(url, path, checksum)
                return path
            except WeightsError as error:
                reasons.append(f'  {url}: {error}')
    raise WeightsError(
        f'{path.name} could not be downloaded.\n' + '\n'.join(reasons) + '\n'
        f'Put the file there by hand: {path}\n'
        f'Expected checksum: {checksum or "none is published; the SHA-256 of the file will be printed"}'
    )


def _download(url: str, path: Path, checksum: str | None) -> None:
    """Downloads a file, unpacks it if it is a zip, checks it, and only then moves it into place."""
    part = path.with_name(f'{path.name}.part')
    if not checksum:
        # Without a checksum, a wrong join of an old part and a new rest would go unnoticed.
        part.unlink(missing_ok=True)
    _Transfer(url, part).run()
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


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to safe addresses only."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: D102, PLR0913
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_url(url: str) -> None:
    """Accepts HTTPS, and HTTP to this machine."""
    parts = urlparse(url)
    if parts.scheme != 'https' and not (parts.scheme == 'http' and parts.hostname in ('127.0.0.1', 'localhost')):
        raise WeightsError(f'{url}: refused, weights are downloaded over HTTPS only')


class _Transfer:
    """The download of one file into `part`, over several connections if necessary.

    Args:
        url: Address of the file.
        part: The file to write. What it holds already is not downloaded again.

    Attributes:
        version: The server's identifier of the file's version. Only the same version is continued.
    """

    def __init__(self, url: str, part: Path) -> None:
        self.url, self.part = url, part
        self.opener = urllib.request.build_opener(_SafeRedirects)
        self.version: str | None = None

    @property
    def have(self) -> int:
        """Number of bytes downloaded so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> None:
        """Downloads the rest of the file, and continues where a connection was interrupted.

        Raises:
            WeightsError: No connection, an error of the server, a web page, too many bytes, no space on the disk.
        """
        _check_url(self.url)
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress('{task.description}', *columns) as bar:
            task = bar.add_task(self.part.stem, total=None)
            for attempt in range(1, ATTEMPTS + 1):
                before = self.have
                try:
                    return self._fetch_rest(lambda done, total: bar.update(task, completed=done, total=total))
                except urllib.error.HTTPError as error:
                    # Range not satisfiable: the part is not the beginning of this file.
                    if error.code == 416 and before:
                        self.part.unlink()
                    elif error.code < 500 or attempt == ATTEMPTS:
                        raise WeightsError(f'the server says: {error.code} {error.reason}') from error
                except (OSError, http.client.HTTPException) as error:
                    if attempt == ATTEMPTS or self.have == before == 0:
                        reason = getattr(error, 'reason', None) or error
                        raise WeightsError(f'no connection, or it was interrupted: {reason}') from error
                time.sleep(0.2 * attempt)

    def _fetch_rest(self, progress: Callable[[int, int | None], None]) -> None:
        """Sends one request, for the rest of the file; receives all of it where the server begins again.

        Raises:
            http.client.IncompleteRead: The connection ended early.
        """
        with self.opener.open(self._request(), timeout=TIMEOUT_S) as answer:
            if 'text/html' in answer.headers.get('Content-Type', ''):
                raise WeightsError('the server sent a web page (a sign-in, quota or error page) instead of the file')
            etag = answer.headers.get('ETag', '')
            self.version = etag if etag.startswith('"') else answer.headers.get('Last-Modified')
            done = self.have if answer.status == 206 else 0
            length = answer.headers.get('Content-Length')
            total = done + int(length) if length else None
            self._check_space(total)
            with self.part.open('r+b' if done else 'wb') as file:
                file.seek(done)
                while done <= MAX_BYTES and (chunk := answer.read(CHUNK)):
                    file.write(chunk)
                    done += len(chunk)
                    progress(done, total)
            self._check_size(done)
        if total is not None and done < total:
            raise http.client.IncompleteRead(b'', total - done)

    def _request(self) -> urllib.request.Request:
        headers = {'User-Agent': 'fishnet_mmdet', 'Accept-Encoding': 'identity'}
        if self.have:
            headers['Range'] = f'bytes={self.have}-'
            if self.version:
                headers['If-Range'] = self.version
        return urllib.request.Request(self.url, headers=headers)

    def _check_size(self, size: int) -> None:
        if size > MAX_BYTES:
            self.part.unlink(missing_ok=True)
            raise WeightsError(f'the file has more than {MAX_BYTES:,} bytes: refused')

    def _check_space(self, total: int | None) -> None:
        if total is None:
            return
        self._check_size(total)
        free = shutil.disk_usage(self.part.parent).free + self.have
        if total > free:
            raise WeightsError(f'{total:,} bytes needed, {free:,} free on the disk of {self.part.parent}')
