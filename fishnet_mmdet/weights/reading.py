"""Reads and writes weight files without ever executing what is in them.

A file is judged by its bytes, not by its name. Tensors come from safetensors, or from `torch.load(weights_only=True)`;
there is no way from here to a wider unpickler.
"""

import hashlib
import io
import json
import pickletools
import re
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fishnet_mmdet.errors import UserError
from fishnet_mmdet.files.atomic import write_atomically

MAX_BYTES = 2 * 2**30
"""No FishNet checkpoint, its optimizer included, comes near this; a zip that unpacks to more is refused unread."""

TORCH_LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
"""First bytes of a file of torch up to 1.5, such as the authors' `.tar` files: its magic number, pickled."""

ENDINGS = ('.safetensors', '.pth')
"""Of files that are written."""

STATE_KEYS = ('state_dict', 'model_state_dict', 'model')
"""Where checkpoints keep their weights, if not at the top."""

AVERAGE_KEYS = ('state_dict_ema', 'model_ema')
"""Where other trainers keep averaged weights. MMEngine keeps them in `state_dict` and the live ones in MMENGINE_LIVE."""

MMENGINE_LIVE = 'ema_state_dict'

WRAPPERS = ('module.', '_orig_mod.')
"""Prefixes that DataParallel and torch.compile put before every key."""

ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, OSError, NotImplementedError, EOFError, struct.error,
)  # fmt: skip
"""What zipfile raises for damaged files."""

REFUSED_GLOBAL = re.compile(r'unsupported (?:global: )?(?:global|class) ([\w.]+)', re.IGNORECASE)
"""What torch calls an object that is neither a tensor nor a container of its list."""

ALLOCATES = re.compile(r'(__builtin__|builtins) bytearray|torch(\.\w+)* \w*Tensor')
"""What torch would call although it makes as many bytes as a number in the file says. Tensors are not written so."""

PICKLES_OF_LEGACY = 5
"""At the beginning of such a file, before the tensors: magic number, protocol, system, content, keys."""

Take = Literal['average', 'live']


class WeightsError(UserError, RuntimeError):
    """Weights that cannot be had, read or fitted; the message names the file, the reason and the fix.

    What comes from a file (the names of its keys) may hold anything: it is shown, never sent to the terminal as it is.
    """

    def __init__(self, message: str) -> None:
        shown = (c if c.isprintable() or c == '\n' else repr(c)[1:-1] for c in message)
        super().__init__(''.join(shown))


@dataclass
class WeightFile:
    """What a file holds.

    Attributes:
        path: The file.
        state: Weights by key, as the file names them but for the prefixes of wrappers; on the CPU.
        meta: The file's own notes (MMEngine's `meta`, the metadata of safetensors).
        sha256: Of the file, in hexadecimal digits.
        notes: What a reader of the summary line should know, such as which of two sets of weights was taken.
    """

    path: Path
    state: dict[str, Tensor]
    meta: dict[str, Any]
    sha256: str
    notes: list[str] = field(default_factory=list)


def read(path: Path | str, take: Take | None = None) -> WeightFile:
    """Reads a weight file: safetensors, torch's zip and legacy formats, or a zip that holds one such file.

    Args:
        path: The file.
        take: Of a checkpoint that holds averaged (EMA) and live weights, which; by default what its `state_dict` holds.

    Raises:
        WeightsError: Not a weight file, damaged, too large, or one that asks for more than tensors and containers.
    """
    path = Path(path)
    container = sniff(path)
    if container == 'zip of a file':
        return _read_packed(path, take)
    if container == 'safetensors':
        content, meta = _read_safetensors(path)
        file = WeightFile(path, content, meta, file_hash(path))
    else:
        content = _read_torch(path, container)
        state, notes = _choose(content, take, path)
        meta = content.get('meta')
        meta = dict(meta) if isinstance(meta, Mapping) else {}
        file = WeightFile(path, state, meta, file_hash(path), notes)
    _check_state(file)
    _check_content_hash(file)
    return file


def read_checkpoint(path: Path | str, allow: Sequence[tuple[Any, str]] = ()) -> dict[str, Any]:
    """Reads all that a checkpoint holds: weights, optimizer, notes.

    Args:
        path: A file of torch, in its zip or legacy format.
        allow: Objects, each with the full name in the file that it stands for; to none by default.

    Raises:
        WeightsError: As `read`.
    """
    path = Path(path)
    container = sniff(path, limit=None)
    if not container.startswith('torch'):
        raise WeightsError(f'{path} holds weights alone (a {container}), not the checkpoint of a training')
    return dict(_read_torch(path, container, allow))


def sniff(path: Path, limit: int | None = MAX_BYTES) -> str:
    """The container of a file, by its first bytes.

    Args:
        path: The file.
        limit: Bytes that it may have, also unpacked; None for any, as for the checkpoints of one's own training.

    Returns:
        'safetensors', 'torch zip', 'torch legacy' or 'zip of a file'.

    Raises:
        WeightsError: Anything else, with what it seems to be and the fix.
    """
    if path.is_dir():
        raise WeightsError(
            f"{path} is a folder. The authors' .tar files are not tar archives: torch reads them as they are, so do "
            'not unpack them. Download the file anew and name the file itself'
        )
    if not path.is_file():
        raise WeightsError(f'weights not found: {path.resolve()} does not exist')
    size = path.stat().st_size
    if limit and size > limit:
        raise WeightsError(f'{path} has {size:,} bytes; a weight file may have up to {limit:,}')
    with path.open('rb') as file:
        head = file.read(512)
    if head.startswith(b'PK\x03\x04'):
        return _sniff_zip(path, limit)
    if len(head) > 8 and head[8:9] == b'{' and int.from_bytes(head[:8], 'little') < size:
        return 'safetensors'
    # A tar archive takes torch down another path, one that older versions unpickle without restraint.
    if head.startswith(TORCH_LEGACY) and not tarfile.is_tarfile(path):
        return 'torch legacy'
    raise WeightsError(f'{path} is no weight file: {_describe(head, size, path)}')


def _describe(head: bytes, size: int, path: Path) -> str:
    text = head.lstrip().lower()
    if not head.strip(b'\0'):
        return f'it is {"nothing but zeros" if size else "empty"}. Download it anew'
    if text.startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        return 'it is a web page (a sign-in, quota or error page was saved in its place). Download it with a browser'
    if text.startswith(b'version https://git-lfs'):
        return 'it is a Git LFS pointer. Fetch the file itself: git lfs pull'
    if head.startswith(b'\x1f\x8b'):
        return 'it is gzip-compressed. Unpack it with gunzip'
    if tarfile.is_tarfile(path):
        return 'it is a tar archive; weights are in one file, which torch or safetensors wrote'
    if head.startswith(b'\x80'):
        return 'it is a bare pickle, which could execute code; save weights with torch.save or safetensors'
    return f'it begins with {head[:12]!r}. Known are safetensors and what torch.save writes'


def _sniff_zip(path: Path, limit: int | None) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except ZIP_ERRORS as error:
        raise WeightsError(f'{path} is a damaged zip file ({_reason(error)}). Download it anew') from error
    unpacked = sum(member.file_size for member in members)
    if (limit and unpacked > limit) or len(members) > 100_000:
        raise WeightsError(f'{path} unpacks to {unpacked:,} bytes in {len(members)} files: refused')
    if any(member.filename.endswith('/constants.pkl') for member in members):
        raise WeightsError(f'{path} is a TorchScript program, not weights: save its state_dict alone')
    if any(member.filename.endswith('data.pkl') for member in members):
        # torch stores, never compresses: this keeps a zip bomb from it.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise WeightsError(f'{path} is a compressed torch file, which torch never writes: refused')
        return 'torch zip'
    if len(members) == 1 and not members[0].is_dir():
        return 'zip of a file'
    names = ', '.join(member.filename for member in members[:5])
    raise WeightsError(f'{path} is a zip of {len(members)} files ({names}): no weight file, nor a zip of exactly one')


def unpack(path: Path, target: Path) -> None:
    """Unpacks the one file of a zip, under its own size limit.

    Raises:
        WeightsError: Damaged, or larger than it says.
    """
    try:
        with zipfile.ZipFile(path) as archive, target.open('wb') as out:
            (member,) = archive.infolist()
            with archive.open(member) as packed:
                while chunk := packed.read(2**20):
                    out.write(chunk)
                    if out.tell() > min(MAX_BYTES, member.file_size):
                        raise WeightsError(f'{path}: {member.filename} is larger than the zip says: refused')
    except WeightsError:
        raise
    except ZIP_ERRORS as error:
        raise WeightsError(f'{path} cannot be unpacked ({_reason(error)}). Download it anew') from error


def _read_packed(path: Path, take: Take | None) -> WeightFile:
    with tempfile.TemporaryDirectory() as scratch:
        inner = Path(scratch) / 'weights'
        unpack(path, inner)
        try:
            if sniff(inner) == 'zip of a file':
                raise WeightsError(f'{path} is a zip of a zip: refused')
            file = read(inner, take)
        except WeightsError as error:
            raise WeightsError(str(error).replace(str(inner), f'what {path} holds')) from error
    file.path, file.sha256 = path, file_hash(path)
    return file


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(path, 'pt') as file:
            meta = dict(file.metadata() or {})
        return safetensors.torch.load_file(path), meta
    except (safetensors.SafetensorError, RuntimeError, ValueError, KeyError, OSError) as error:
        raise WeightsError(f'{path} is a damaged safetensors file: {_reason(error)}') from error


def _read_torch(path: Path, container: str, allow: Sequence[tuple[Any, str]] = ()) -> Mapping:
    if container == 'torch zip':
        _check_zip_sums(path)
    check_calls(path, container)
    try:
        with torch.serialization.safe_globals(list(allow)) if allow else nullcontext():
            content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a dozen kinds for what is damaged, one for what is not allowed
        if refused := REFUSED_GLOBAL.search(str(error)):
            raise WeightsError(
                f'{path} holds more than weights: unpickling it would call {refused[1]}. Refused, nothing was '
                'executed. If you trust the file, load it where it was made and save its state_dict alone'
            ) from error
        raise WeightsError(f'{path} is damaged or no weight file: {_reason(error)}. Download it anew') from error
    if not isinstance(content, Mapping):
        raise WeightsError(f'{path} holds a {type(content).__name__}, not weights by name')
    return content


def check_calls(path: Path, container: str) -> None:
    """Looks at what a file asks torch to call, without unpickling it.

    Raises:
        WeightsError: A call that takes any amount of memory, or a pickle that cannot be followed.
    """
    try:
        for pickled in _pickles(path, container):
            for opcode, argument, _ in pickletools.genops(pickled):
                if opcode.name == 'GLOBAL' and ALLOCATES.fullmatch(argument):
                    raise WeightsError(
                        f'{path} holds more than weights: unpickling it would call {argument.replace(" ", ".")}, which '
                        'takes as much memory as the file says. Refused'
                    )
    except WeightsError:
        raise
    except (*ZIP_ERRORS, IndexError, UnicodeError) as error:
        raise WeightsError(f'{path} is damaged or no weight file: {_reason(error)}. Download it anew') from error


def _pickles(path: Path, container: str) -> Iterator[IO[bytes]]:
    if container == 'torch legacy':
        with path.open('rb') as file:
            for _ in range(PICKLES_OF_LEGACY):
                yield file  # each is followed to its end, where the next begins
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith('data.pkl'):
                with archive.open(member) as file:
                    yield file


def _check_zip_sums(path: Path) -> None:
    """Looks at the checksums that torch writes into its files but does not read."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except ZIP_ERRORS as error:
        raise WeightsError(f'{path} is damaged ({_reason(error)}). Download it anew') from error
    if damaged:
        raise WeightsError(f'{path} is damaged: the checksum of {damaged} is wrong. Download it anew')


def _reason(error: Exception) -> str:
    """The first line of what a library says, without torch's advice to unpickle."""
    text = str(error).partition('WeightsUnpickler error:')[2].strip() or str(error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), '')
    if 'weights_only' in line:
        return 'torch finds no weights in it'
    return f'{type(error).__name__}: {line[:200]}'


def _choose(content: Mapping, take: Take | None, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of a checkpoint, and a note where there was a choice."""
    key = next((k for k in STATE_KEYS if isinstance(content.get(k), Mapping)), None)
    state = content if key is None else content[key]
    average = next((k for k in AVERAGE_KEYS if isinstance(content.get(k), Mapping)), None)
    live = content.get(MMENGINE_LIVE) if isinstance(content.get(MMENGINE_LIVE), Mapping) else None
    notes = []
    if take == 'average' and average:
        state, notes = content[average], [f'averaged weights, of {average!r}']
    elif take == 'live' and live is not None:
        # AveragedModel counts its steps among the weights.
        state = {k: v for k, v in live.items() if k != 'steps'}
        notes = ['live weights']
    elif live is not None:
        notes = ['averaged weights']
    elif take == 'average':
        raise WeightsError(f'{path} holds no averaged (EMA) weights; it holds {", ".join(map(str, content))}')
    return _unwrapped(state, path), notes


def _unwrapped(state: Mapping, path: Path) -> dict[str, Tensor]:
    keys = [key for key in state if isinstance(key, str)]
    if len(keys) != len(state):
        odd = next(key for key in state if not isinstance(key, str))
        raise WeightsError(f'{path}: the key {odd!r} of the weights is not a string')
    stripped = dict(state)
    while prefix := next((p for p in WRAPPERS if stripped and all(k.startswith(p) for k in stripped)), None):
        stripped = {key.removeprefix(prefix): value for key, value in stripped.items()}
    return stripped


def _check_state(file: WeightFile) -> None:
    if not file.state:
        raise WeightsError(f'{file.path} holds no weights')
    for key, value in file.state.items():
        if not isinstance(value, Tensor):
            raise WeightsError(f'{file.path}: {key} is a {type(value).__name__}, not a tensor')
        plain = value.layout == torch.strided and not value.is_quantized and not value.is_complex()
        # A few bytes may say that they are a tensor of any size: nothing is computed with such a one.
        if not plain or value.device.type != 'cpu' or value.nbytes > value.untyped_storage().nbytes():
            raise WeightsError(f'{file.path}: {key} is no plain dense tensor')
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f'{file.path} is damaged, or of a run that broke: {key} is not finite')
        if key.endswith('running_var') and bool((value < 0).any()):
            raise WeightsError(f'{file.path} is damaged: {key}, a variance, is negative')


def content_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values, whatever container they are kept in."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().contiguous()
        digest.update(json.dumps([key, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_content_hash(file: WeightFile) -> None:
    expected = file.meta.get('content_sha256')
    if expected and content_hash(file.state) != expected:
        raise WeightsError(
            f'{file.path} is damaged: its tensors are not those that were written (content_sha256). Make it anew'
        )


def file_hash(path: Path, algorithm: str = 'sha256') -> str:
    """The hash of a file, in hexadecimal digits."""
    digest = hashlib.new(algorithm)
    with path.open('rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def write(state: Mapping[str, Tensor], meta: Mapping[str, str], path: Path) -> None:
    """Writes weights in one move: a crash leaves the old file, or none, never half of one.

    Args:
        state: Weights by key.
        meta: Notes, which `read` gives back; `content_sha256` is added.
        path: `.safetensors`, or else what torch and MMEngine load.
    """
    plain = {key: value.detach().clone().contiguous() for key, value in state.items()}
    notes = {**meta, 'content_sha256': content_hash(plain)}
    if path.suffix == '.safetensors':
        content = safetensors.torch.save(plain, metadata=notes)
    else:
        content = torch_bytes({'meta': notes, 'state_dict': plain})
    write_atomically(path, content)


def torch_bytes(content: Any) -> bytes:
    """What torch would write to a file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
