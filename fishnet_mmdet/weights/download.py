"""Downloads into torch's hub cache: HTTPS only, resumed where it was cut, checked before anybody sees the file."""

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
from fishnet_mmdet.weights.reading import WeightsError, file_hash, sniff, unpack

MAX_BYTES = 2**30
"""The largest released file has a few hundred megabytes; what is larger than this is something else."""

ATTEMPTS = 5
TIMEOUT_S = 30
CHUNK = 2**18


def cache_folder() -> Path:
    """Where downloads lie: torch's own, moved by TORCH_HOME."""
    return Path(torch.hub.get_dir()) / 'checkpoints'


def obtain(weights: NamedWeights) -> Path:
    """The file of a name of the catalogue, downloaded if it is not in the cache.

    Several processes may ask at once: one downloads, the others wait.

    Raises:
        WeightsError: No network, not the file, or a wrong checksum; it names the addresses, the checksum that was
            expected, and the path where a file put by hand is found.
    """
    return _obtain(weights.urls, cache_folder() / weights.file, weights.checksum)


def obtain_url(url: str) -> Path:
    """The file at an HTTPS address, downloaded if it is not in the cache; its SHA-256 is printed.

    Raises:
        WeightsError: As `obtain`.
    """
    mark = hashlib.sha256(url.encode()).hexdigest()[:8]  # many addresses end in the same name
    return _obtain((url,), cache_folder() / f'{mark}-{PurePosixPath(urlparse(url).path).name}', None)


def _obtain(urls: Sequence[str], path: Path, checksum: str | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
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
        f'Expected checksum: {checksum or "none is known; the SHA-256 that is seen will be printed"}'
    )


def _download(url: str, path: Path, checksum: str | None) -> None:
    """Downloads, unpacks a zip of the file, checks, and only then moves it into place."""
    part = path.with_name(f'{path.name}.part')
    if not checksum:
        part.unlink(missing_ok=True)  # nothing would tell whether the rest still belongs to it
    _Transfer(url, part).run()
    ready = path.with_name(f'{path.name}.ready')
    try:
        if sniff(part) == 'zip of a file':
            unpack(part, ready)
            sniff(ready)
        else:
            os.replace(part, ready)
        _verify(ready, checksum, 'what was downloaded is removed')
        with ready.open('rb') as file:
            os.fsync(file.fileno())
        os.replace(ready, path)
    finally:
        ready.unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def _verify(path: Path, checksum: str | None, fix: str) -> None:
    if not checksum:
        print_log(f'{path.name}: no checksum is known; sha256:{file_hash(path)}', logger='current')
        return
    algorithm, _, expected = checksum.partition(':')
    seen = file_hash(path, algorithm)
    if seen != expected:
        raise WeightsError(f'wrong checksum: expected {checksum}, seen {algorithm}:{seen}; {fix}')


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to safe addresses only."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: D102, PLR0913
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_url(url: str) -> None:
    """HTTPS, or this very machine, where nobody stands between."""
    parts = urlparse(url)
    if parts.scheme != 'https' and not (parts.scheme == 'http' and parts.hostname in ('127.0.0.1', 'localhost')):
        raise WeightsError(f'{url}: refused, weights are downloaded over HTTPS only')


class _Transfer:
    """One file on its way into `part`, over as many connections as it takes.

    Attributes:
        version: The server's name of the file's version: what is gone on with must be the same file.
    """

    def __init__(self, url: str, part: Path) -> None:
        self.url, self.part = url, part
        self.opener = urllib.request.build_opener(_SafeRedirects)
        self.version: str | None = None

    @property
    def have(self) -> int:
        """Bytes that are there already."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> None:
        """Downloads, going on from what is there, and again from where a connection was cut.

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
                    if error.code == 416 and before:  # what is there is not the beginning of this file
                        self.part.unlink()
                    elif error.code < 500 or attempt == ATTEMPTS:
                        raise WeightsError(f'the server says: {error.code} {error.reason}') from error
                except (OSError, http.client.HTTPException) as error:
                    if attempt == ATTEMPTS or self.have == before == 0:
                        reason = getattr(error, 'reason', None) or error
                        raise WeightsError(f'no connection, or it was cut: {reason}') from error
                time.sleep(0.2 * attempt)

    def _fetch_rest(self, progress: Callable[[int, int | None], None]) -> None:
        """One request: the rest of the file, or all of it where the server starts anew.

        Raises:
            http.client.IncompleteRead: The connection ended early.
        """
        headers = {'User-Agent': 'fishnet_mmdet', 'Accept-Encoding': 'identity'}
        if self.have:
            headers['Range'] = f'bytes={self.have}-'
            if self.version:
                headers['If-Range'] = self.version
        request = urllib.request.Request(self.url, headers=headers)
        with self.opener.open(request, timeout=TIMEOUT_S) as answer:
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
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    progress(done, total)
                    if done > MAX_BYTES:
                        break
            self._check_size(done)
        if total is not None and done < total:
            raise http.client.IncompleteRead(b'', total - done)

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
