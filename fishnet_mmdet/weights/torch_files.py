"""Reads files that `torch.save` wrote, without ever executing what is in them.

Tensors come from `torch.load(weights_only=True)`. There is no fallback to an unpickler that allows more.
"""

import pickletools
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import torch

from fishnet_mmdet.weights.containers import ZIP_ERRORS, reason
from fishnet_mmdet.weights.errors import ForeignObjects, WeightsError

REFUSED_GLOBAL = re.compile(r'unsupported (?:global: )?(?:global|class) ([\w.]+)', re.IGNORECASE)
"""torch's words for an object that is neither a tensor nor one of the containers that it allows."""

ALLOCATES = re.compile(r'(__builtin__|builtins) bytearray|torch(\.\w+)* \w*Tensor')
"""Calls that torch allows although they take as many bytes as a number in the file says. Tensors are not saved so."""

PICKLES_OF_LEGACY = 5
"""Pickles at the beginning of a legacy file, before its tensors: magic number, protocol, system, content, keys."""


def read_torch(path: Path, container: str, allow: Sequence[tuple[Any, str]] = ()) -> Mapping:
    """Reads the content of a torch file; tensors are on the CPU.

    Args:
        path: The file.
        container: 'torch zip' or 'torch legacy', from `containers.sniff`.
        allow: As in `reading.read_checkpoint`.

    Raises:
        WeightsError: The file is damaged, holds anything but tensors and containers, or is not a mapping.
    """
    if container == 'torch zip':
        _check_zip_sums(path)
    check_calls(path, container)
    try:
        with torch.serialization.safe_globals(list(allow)) if allow else nullcontext():
            content = torch.load(path, map_location='cpu', weights_only=True)
    # torch raises many kinds of errors for a damaged file, and one of them for a call that is not allowed.
    except Exception as error:
        if not allow and 'mmengine.logging.history_buffer' in str(error):
            raise ForeignObjects(
                f'{path} was written by MMEngine without PlainCheckpoints and holds pickled objects: refused. '
                f'`fishnet-mmdet plain-checkpoint {path} NEW.pth` writes its content in plain form and executes nothing'
            ) from error
        if refused := REFUSED_GLOBAL.search(str(error)):
            raise ForeignObjects(
                f'{path} holds more than weights: unpickling it would call {refused[1]}. Refused, nothing was '
                'executed. If you trust the file, load it where it was made and save only its state_dict'
            ) from error
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f'{path} holds a {type(content).__name__}, not weights by name')
    return content


def check_calls(path: Path, container: str) -> None:
    """Checks which calls a file asks torch for, without unpickling it.

    Args:
        path: The file.
        container: 'torch zip' or 'torch legacy', from `containers.sniff`.

    Raises:
        WeightsError: A call takes an amount of memory that the file states, a pickle cannot be parsed, or torch would
            read another one than is checked here.
    """
    if container == 'torch zip':
        _check_same_records(path)
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
        raise _damaged(path, error) from error


def _check_same_records(path: Path) -> None:
    """Checks that torch, which loads a zip, finds in it the bytes that Python's `zipfile` finds, which are checked.

    Both search for the directory of a zip in their own ways, and torch looks for names in any case.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            ours = {member.filename: _data_offset(archive, member) for member in archive.infolist()}
            names = [member.filename for member in archive.infolist()]
        reader = torch._C.PyTorchFileReader(str(path))
        root = names[0].split('/')[0]
        records = {f'{root}/{name}': name for name in reader.get_all_records()}
        # torch 2.0 does not say where a record lies.
        has_places = hasattr(reader, 'get_record_offset')
        theirs = {key: reader.get_record_offset(name) if has_places else ours.get(key) for key, name in records.items()}
    # torch raises RuntimeError for what it does not find.
    except (*ZIP_ERRORS, IndexError, UnicodeError) as error:
        raise _damaged(path, error) from error
    if ours != theirs or len({name.casefold() for name in names}) < len(names) or f'{root}/data.pkl' not in ours:
        raise WeightsError(f'{path} is a zip that two programs read in two ways: refused. torch writes no such file')


def _data_offset(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Where the content of a member begins."""
    archive.fp.seek(member.header_offset + 26)
    name, extra = struct.unpack('<HH', archive.fp.read(4))
    return member.header_offset + 30 + name + extra


def _pickles(path: Path, container: str) -> Iterator[IO[bytes]]:
    if container == 'torch legacy':
        with path.open('rb') as file:
            for _ in range(PICKLES_OF_LEGACY):
                # The caller reads one pickle to its end, where the next one begins.
                yield file
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith('data.pkl'):
                with archive.open(member) as file:
                    yield file


def _check_zip_sums(path: Path) -> None:
    """Verifies the checksums that torch writes into its zip files but does not verify when it loads them."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except ZIP_ERRORS as error:
        raise WeightsError(f'{path} is damaged ({reason(error)}). Download it again') from error
    if damaged:
        raise WeightsError(f'{path} is damaged: the checksum of {damaged} is wrong. Download it again')


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f'{path} is damaged or not a weight file: {reason(error)}. Download it again')
