"""Malicious files: refused by every way in, and nothing in them is executed."""

import os
import struct
import subprocess
import zipfile
import zlib
from collections import OrderedDict

import pytest
import torch
from seeded import NARROW
from weight_cases import Call, readable

from fishnet_mmdet import FishNet
from fishnet_mmdet.preflight.weights import check_pretrained
from fishnet_mmdet.training.checkpoints.reader import peek
from fishnet_mmdet.weights.convert import convert_weights
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.load import load_backbone
from fishnet_mmdet.weights.reading import read_checkpoint


@pytest.fixture(scope='module')
def target():
    return FishNet(NARROW).state_dict()


class Dressed(OrderedDict):
    """A state dict that unpickles to a call."""

    def __reduce__(self):
        return self.mark


def payloads(mark):
    """Objects that would create the file `mark`."""
    code = f'open({str(mark)!r}, "w").close()'
    dressed = Dressed(a=torch.ones(1))
    dressed.mark = (exec, (code,))
    shell = f'touch {mark}'
    return {
        'os.system': Call(os.system, shell),
        'exec': Call(exec, code),
        'eval': Call(eval, f'__import__("os").system({shell!r})'),
        'subprocess': Call(subprocess.check_call, ['touch', str(mark)]),
        'open': Call(open, str(mark), 'w'),
        'getattr': Call(getattr, Call(__import__, 'os'), 'system'),
        'os.mkdir': Call(os.mkdir, str(mark)),
        'torch.save': Call(torch.save, {}, str(mark)),
        'a dressed dict': dressed,
        'a module': torch.nn.Linear(2, 2),
    }


PLACES = {
    'at the top': lambda bad, state: bad,
    'as a weight': lambda bad, state: {'state_dict': {**state, 'conv1.0.weight': bad}},
    'in the optimizer': lambda bad, state: {'state_dict': state, 'optimizer': {'state': {0: {'m': [bad]}}}},
    'in best_prec1': lambda bad, state: {'state_dict': state, 'best_prec1': bad},
    'nested': lambda bad, state: {'state_dict': state, 'meta': {'a': [({'b': (bad,)},)]}},
}


@pytest.mark.parametrize('old', [True, False], ids=['old format', 'zip'])
@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('what', payloads('x'))
def test_no_payload_runs(tmp_path, target, what, place, old):
    mark = tmp_path / 'mark'
    path = tmp_path / 'fish.tar'
    content = PLACES[place](payloads(mark)[what], {'conv1.0.weight': torch.ones(1)})
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(WeightsError, match='Refused, nothing was executed') as error:
        load_backbone(str(path), target)
    assert readable(error.value) and not mark.exists()


@pytest.mark.parametrize('old', [False, True], ids=['zip', 'legacy'])
@pytest.mark.parametrize('kind', [bytearray, torch.FloatTensor, torch.Tensor], ids=lambda kind: kind.__name__)
def test_no_file_names_the_memory_it_takes(tmp_path, target, kind, old):
    """torch's safe loader calls these, with any number."""
    path = tmp_path / 'fish.tar'
    content = {'state_dict': {'conv1.0.weight': torch.ones(1)}, 'more': Call(kind, 1000)}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    assert torch.load(path, weights_only=True)
    with pytest.raises(WeightsError, match=f'{kind.__name__}, which takes as much memory as the file says'):
        load_backbone(str(path), target)
    with pytest.raises(WeightsError, match='Refused'):
        read_checkpoint(path)


BYTEARRAY = b'\x80\x02}q\x00(X\x01\x00\x00\x00ac__builtin__\nbytearray\nJ\x00\x00\x00\x01\x85Ru.'
"""A pickle that takes 16 MiB."""


def append(content, files, shift=0):
    """Appends the entries of a zip to bytes; returns their directory, in which places are less by `shift`."""
    directory = b''
    for name, data in files.items():
        sums = struct.pack('<III', zlib.crc32(data), len(data), len(data))
        place, encoded = len(content), name.encode()
        content += struct.pack('<IHHHHH', 0x04034B50, 20, 0, 0, 0, 0x21) + sums
        content += struct.pack('<HH', len(encoded), 0) + encoded + data
        directory += struct.pack('<IHHHHHH', 0x02014B50, 20, 20, 0, 0, 0, 0x21) + sums
        directory += struct.pack('<HHHHHII', len(encoded), 0, 0, 0, 0, 0, place - shift) + encoded
    return directory


def two_directories(sound, bad):
    """A zip whose end record gives the place of one directory and lies behind another; Python takes the latter."""
    content = bytearray()
    theirs = append(content, bad)
    # So that no place in the other directory is less than 0.
    content += bytes(4096)
    place = len(content)
    content += theirs
    whole = bytearray(content)
    append(whole, sound)
    directory = append(content, sound, shift=len(whole) - place)
    end = struct.pack('<IHHHHIIH', 0x06054B50, 0, 0, len(bad), len(bad), len(theirs), place, 0)
    return bytes(content) + directory + end


@pytest.mark.parametrize('how', ['two directories', 'upper case'])
def test_what_torch_reads_is_what_is_checked(tmp_path, how):
    torch.save({'state_dict': {'w': torch.ones(3)}}, tmp_path / 'sound.pth')
    with zipfile.ZipFile(tmp_path / 'sound.pth') as archive:
        sound = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = (name for name in sound if name.endswith('data.pkl'))
    path = tmp_path / 'fish.pth'
    if how == 'two directories':
        path.write_bytes(two_directories(sound, {**sound, pickled: BYTEARRAY}))
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None and archive.read(pickled) == sound[pickled]
    else:
        root = pickled.removesuffix('data.pkl')
        with zipfile.ZipFile(path, 'w') as archive:
            for name, data in {**sound, f'{root}zdata.pkl': sound[pickled], pickled: BYTEARRAY}.items():
                archive.writestr(f'{root}DATA.PKL' if name == pickled else name, data)
    assert torch.load(path, weights_only=True) == {'a': bytearray(2**24)}
    for read in (read_checkpoint, peek, lambda path: load_backbone(str(path), {})):
        with pytest.raises(WeightsError, match='read in two ways'):
            read(path)


def test_the_payloads_would_run(tmp_path):
    """Otherwise the test above could not fail."""
    for what, payload in payloads(tmp_path / 'mark').items():
        if what in ('a module', 'getattr'):
            continue
        torch.save(payload, tmp_path / 'fish.tar')
        torch.load(tmp_path / 'fish.tar', weights_only=False)
        assert (mark := tmp_path / 'mark').exists(), what
        mark.rmdir() if mark.is_dir() else mark.unlink()


def test_no_door_lets_a_payload_in(tmp_path, target):
    """Config, converter, preflight and MMEngine's loader by our scheme; plain, and packed in a zip."""
    from mmengine.runner import CheckpointLoader

    mark = tmp_path / 'mark'
    torch.save({'state_dict': {}, 'optimizer': Call(os.system, f'touch {mark}')}, tmp_path / 'fish.tar')
    with zipfile.ZipFile(tmp_path / 'fish.zip', 'w') as archive:
        archive.write(tmp_path / 'fish.tar', 'fish.pth')
    for path in (str(tmp_path / 'fish.tar'), str(tmp_path / 'fish.zip')):
        init = dict(type='Pretrained', checkpoint=path)
        doors = {
            'config': lambda init=init: FishNet(NARROW, init_cfg=init).init_weights(),
            'converter': lambda path=path: convert_weights(path, tmp_path / 'out.pth'),
            'scheme': lambda path=path: CheckpointLoader.load_checkpoint(f'fishnet://{path}'),
        }
        for door, enter in doors.items():
            with pytest.raises(WeightsError, match='nothing was executed'):
                enter()
            assert not mark.exists(), door
        (finding,) = check_pretrained(dict(type='FishNet', arch=NARROW, init_cfg=init))
        assert 'nothing was executed' in str(finding) and not mark.exists()
