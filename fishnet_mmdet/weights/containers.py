"""Which kind of file holds some weights, judged by its bytes and not by its name; and unpacking a zip of one file."""

import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

from fishnet_mmdet.weights.errors import WeightsError

MAX_BYTES = 2 * 2**30
"""Limit on the size of a weight file, also unpacked, unless a caller sets another.

Every FishNet checkpoint is far below it, optimizer included.
"""

MAX_MEMBERS = 100_000
"""Limit on the number of files in a zip."""

TORCH_LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
"""First bytes of a file of torch up to 1.5, such as the authors' `.tar` files: torch's magic number, pickled."""

ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,
    ValueError,
    OSError,
    NotImplementedError,
    EOFError,
    struct.error,
)
"""The errors that zipfile raises for damaged files."""


def sniff(path: Path, limit: int | None = MAX_BYTES) -> str:
    """Tells the kind of a weight file by its first bytes.

    Args:
        path: The file.
        limit: The most bytes that the file may have, also unpacked; None for no limit, as for checkpoints of the
            user's own training.

    Returns:
        'safetensors', 'torch zip', 'torch legacy' or 'zip of a file'.

    Raises:
        WeightsError: The file is of another kind; the message says which kind it seems to be, and the fix.
    """
    if path.is_dir():
        raise WeightsError(
            f"{path} is a folder. The authors' .tar files are not tar archives: torch reads them as they are, so do "
            'not unpack them. Download the file again and name the file itself'
        )
    if not path.is_file():
        raise WeightsError(f'weights not found: {path.resolve()} does not exist')
    size = path.stat().st_size
    if limit and size > limit:
        raise WeightsError(f'{path} has {size:,} bytes; a weight file may have up to {limit:,}')
    try:
        with path.open('rb') as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(f'{path} cannot be read: {error.strerror}') from error
    if head.startswith(b'PK\x03\x04'):
        return _sniff_zip(path, limit)
    if len(head) > 8 and head[8:9] == b'{' and int.from_bytes(head[:8], 'little') < size:
        return 'safetensors'
    # torch reads tar archives with other code, which in older versions unpickles without restrictions.
    if head.startswith(TORCH_LEGACY) and not tarfile.is_tarfile(path):
        return 'torch legacy'
    raise WeightsError(f'{path} is not a weight file: {_describe(head, size, path)}')


def _describe(head: bytes, size: int, path: Path) -> str:
    text = head.lstrip().lower()
    if not head.strip(b'\0'):
        return f'it is {"all zeros" if size else "empty"}. Download it again'
    if text.startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        return 'it is a web page (a sign-in, quota or error page was saved instead). Download it with a browser'
    if text.startswith(b'version https://git-lfs'):
        return 'it is a Git LFS pointer. Fetch the file itself: git lfs pull'
    if head.startswith(b'\x1f\x8b'):
        return 'it is gzip-compressed. Unpack it with gunzip'
    if tarfile.is_tarfile(path):
        return 'it is a tar archive. Name a single file that torch or safetensors wrote'
    if head.startswith(b'\x80'):
        return 'it is a bare pickle, which could execute code. Save the weights with torch.save or safetensors'
    return f'it begins with {head[:12]!r}. Supported are safetensors files and files that torch.save wrote'


def _sniff_zip(path: Path, limit: int | None) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except ZIP_ERRORS as error:
        raise WeightsError(f'{path} is a damaged zip file ({reason(error)}). Download it again') from error
    unpacked = sum(member.file_size for member in members)
    if (limit and unpacked > limit) or len(members) > MAX_MEMBERS:
        raise WeightsError(f'{path} unpacks to {unpacked:,} bytes in {len(members)} files: refused')
    if any(member.filename.endswith('/constants.pkl') for member in members):
        raise WeightsError(f'{path} is a TorchScript program, not weights. Save its state_dict instead')
    if any(member.filename.endswith('data.pkl') for member in members):
        # torch never compresses its files. A compressed one could be a zip bomb.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise WeightsError(f'{path} is a compressed torch file, which torch never writes: refused')
        return 'torch zip'
    if len(members) == 1 and not members[0].is_dir():
        return 'zip of a file'
    names = ', '.join(member.filename for member in members[:5])
    raise WeightsError(
        f'{path} is a zip of {len(members)} files ({names}). It is not a weight file, nor a zip of exactly one'
    )


def unpack(path: Path, target: Path) -> None:
    """Unpacks the only file of a zip, within the size that the zip states.

    Raises:
        WeightsError: The zip is damaged, or its file is larger than the zip states.
    """
    try:
        with zipfile.ZipFile(path) as archive, target.open('wb') as out:
            (member,) = archive.infolist()
            with archive.open(member) as packed:
                while chunk := packed.read(2**20):
                    out.write(chunk)
                    if out.tell() > min(MAX_BYTES, member.file_size):
                        raise WeightsError(f'{path}: {member.filename} is larger than the zip states: refused')
    except WeightsError:
        raise
    except ZIP_ERRORS as error:
        raise WeightsError(f'{path} cannot be unpacked ({reason(error)}). Download it again') from error


def reason(error: Exception) -> str:
    """The first line of a library's message, without torch's advice to unpickle."""
    text = str(error).partition('WeightsUnpickler error:')[2].strip() or str(error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), '')
    if 'weights_only' in line:
        return 'torch finds no weights in it'
    return f'{type(error).__name__}: {line[:200]}'
