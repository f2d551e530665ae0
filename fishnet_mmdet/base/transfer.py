"""Downloads a file over HTTPS and continues where a connection was interrupted."""

import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse

from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from fishnet_mmdet.base.errors import UserError

ATTEMPTS = 5
"""How many connections in a row may bring nothing."""

TIMEOUT_S = 30
CHUNK = 2**18


class TransferError(UserError):
    """A download that failed; the message says why."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to safe addresses only."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: D102, PLR0913
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_url(url: str) -> None:
    """Accepts HTTPS, and HTTP to this machine."""
    parts = urlparse(url)
    if parts.scheme != 'https' and not (parts.scheme == 'http' and parts.hostname in ('127.0.0.1', 'localhost')):
        raise TransferError(f'{url}: refused, files are downloaded over HTTPS only')


class Transfer:
    """The download of one file into `part`, over several connections if necessary.

    Args:
        url: Address of the file.
        part: The file to write. What it holds already is not downloaded again.
        max_bytes: The largest size that is accepted.
        size: The size that the file must have, if it is known.

    Attributes:
        version: The server's identifier of the file's version. Only the same version is continued.
    """

    def __init__(self, url: str, part: Path, max_bytes: float, size: int | None = None) -> None:
        self.url, self.part = url, part
        self.max_bytes, self.size = max_bytes, size
        self.opener = urllib.request.build_opener(_SafeRedirects)
        self.version: str | None = None

    @property
    def have(self) -> int:
        """Number of bytes downloaded so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> None:
        """Downloads the rest of the file, and continues where a connection was interrupted.

        Raises:
            TransferError: No connection, an error of the server, a web page, another size, no space on the disk.
        """
        _check_url(self.url)
        if self.size is not None and self.have == self.size:
            # The caller ended before it took the file. A server has no rest to send.
            return
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress('{task.description}', *columns) as bar:
            task = bar.add_task(self.part.stem, total=None)
            failures, furthest = 0, self.have
            while True:
                before = self.have
                try:
                    return self._fetch_rest(lambda done, total: bar.update(task, completed=done, total=total))
                except (OSError, http.client.HTTPException) as error:
                    # Hours of download may be interrupted often; a server that brings nothing is given up.
                    failures = 0 if self.have > furthest else failures + 1
                    furthest = max(furthest, self.have)
                    self._raise_if_final(error, before, is_last=failures == ATTEMPTS)
                time.sleep(0.2 * max(failures, 1))

    def _raise_if_final(self, error: Exception, before: int, is_last: bool) -> None:
        """Raises if another connection cannot help.

        Args:
            error: Why the connection ended.
            before: Bytes that were there when it began.
            is_last: Whether it was the last attempt.
        """
        if not isinstance(error, urllib.error.HTTPError):
            if is_last or self.have == before == 0:
                reason = getattr(error, 'reason', None) or error
                raise TransferError(f'no connection, or it was interrupted: {reason}') from error
        elif error.code == 416 and before:
            # Range not satisfiable: the part is not the beginning of this file.
            self.part.unlink(missing_ok=True)
        elif error.code < 500 or is_last:
            raise TransferError(f'the server says: {error.code} {error.reason}') from error

    def _fetch_rest(self, progress: Callable[[int, int | None], None]) -> None:
        """Sends one request, for the rest of the file; receives all of it where the server begins again.

        Raises:
            http.client.IncompleteRead: The connection ended early.
        """
        with self.opener.open(self._request(), timeout=TIMEOUT_S) as answer:
            if 'text/html' in answer.headers.get('Content-Type', ''):
                raise TransferError('the server sent a web page (a sign-in, quota or error page) instead of the file')
            etag = answer.headers.get('ETag', '')
            self.version = etag if etag.startswith('"') else answer.headers.get('Last-Modified')
            done = self.have if answer.status == 206 else 0
            length = answer.headers.get('Content-Length')
            total = done + int(length) if length else None
            self._check_total(total)
            with self.part.open('r+b' if done else 'wb') as file:
                file.seek(done)
                while done <= self.max_bytes and (chunk := answer.read(CHUNK)):
                    self._write(file, chunk)
                    done += len(chunk)
                    progress(done, total)
            self._check_limit(done)
        if total is not None and done < total:
            raise http.client.IncompleteRead(b'', total - done)

    def _request(self) -> urllib.request.Request:
        headers = {'User-Agent': 'fishnet_mmdet', 'Accept-Encoding': 'identity'}
        if self.have:
            headers['Range'] = f'bytes={self.have}-'
            if self.version:
                headers['If-Range'] = self.version
        return urllib.request.Request(self.url, headers=headers)

    def _write(self, file: BinaryIO, chunk: bytes) -> None:
        try:
            file.write(chunk)
        except OSError as error:
            raise TransferError(f'{self.part} cannot be written: {error.strerror}') from error

    def _check_limit(self, size: int) -> None:
        if size > self.max_bytes:
            self.part.unlink(missing_ok=True)
            raise TransferError(f'the file has more than {self.max_bytes:,} bytes: refused')

    def _check_total(self, total: int | None) -> None:
        if total is None:
            return
        if self.size is not None and total != self.size:
            raise TransferError(f'the file of the server has {total:,} bytes instead of {self.size:,}')
        self._check_limit(total)
        free = shutil.disk_usage(self.part.parent).free + self.have
        if total > free:
            raise TransferError(f'{total:,} bytes needed, {free:,} free on the disk of {self.part.parent}')
