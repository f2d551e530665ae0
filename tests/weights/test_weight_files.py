"""Damaged and wrong files: one readable error each."""

import gzip
import io
import os
import pickle
import pickletools
import random
import struct
import tarfile
import zipfile

import pytest
import torch
from seeded import NARROW, seeded_classifier
from weight_cases import as_downloaded, in_naming, readable, same

from fishnet_mmdet import FishNet
from fishnet_mmdet.weights.containers import TORCH_LEGACY
from fishnet_mmdet.weights.convert import convert_weights
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.load import load_backbone
from fishnet_mmdet.weights.namings import OFFICIAL
from fishnet_mmdet.weights.reading import read
from fishnet_mmdet.weights.writing import write


@pytest.fixture(scope='module')
def narrow():
    return seeded_classifier().state_dict()


@pytest.fixture(scope='module')
def target():
    return FishNet(NARROW).state_dict()


@pytest.fixture(scope='module')
def sound(tmp_path_factory, narrow):
    """One sound file of every container."""
    folder = tmp_path_factory.mktemp('sound')
    torch.save(narrow, folder / 'own.pth')
    convert_weights(str(folder / 'own.pth'), folder / 'fish.safetensors')
    convert_weights(str(folder / 'own.pth'), folder / 'fish.pth')
    as_downloaded(in_naming(narrow, OFFICIAL), folder / 'fishnet_ckpt.tar')
    with zipfile.ZipFile(folder / 'fish.pth.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / 'fish.pth', 'fish.pth')
    return {name: folder / name for name in ('fish.safetensors', 'fish.pth', 'fishnet_ckpt.tar', 'fish.pth.zip')}


def start_of_numbers(content):
    """Where the five pickles of torch's old format end."""
    stream = io.BytesIO(content)
    for _ in range(5):
        list(pickletools.genops(stream))
    return stream.tell()


CONTAINERS = ('fish.safetensors', 'fish.pth', 'fishnet_ckpt.tar', 'fish.pth.zip')


class TestDamaged:
    """4 x 30 truncated and 4 x 60 files with one bit flipped."""

    @pytest.mark.parametrize('name', CONTAINERS)
    def test_truncated_anywhere(self, tmp_path, sound, target, name):
        content = sound[name].read_bytes()
        for cut in random.Random(name).sample(range(len(content)), 30):
            (tmp_path / name).write_bytes(content[:cut])
            with pytest.raises(WeightsError) as error:
                load_backbone(str(tmp_path / name), target)
            assert readable(error.value) and name in str(error.value), f'cut at {cut}: {error.value}'

    @pytest.mark.parametrize('name', CONTAINERS)
    def test_a_bit_flipped_anywhere(self, tmp_path, sound, target, name):
        """An error, or the same weights if the byte means nothing (padding, dates): never other weights.

        The legacy format has no checksums, so a flipped bit of a number would go unnoticed without a known hash of
        the file. There only bits before the numbers are flipped.
        """
        content = sound[name].read_bytes()
        rng = random.Random(name)
        whole = start_of_numbers(content) if name == 'fishnet_ckpt.tar' else len(content)
        expected, errors = load_backbone(str(sound[name]), target), 0
        for place in rng.sample(range(whole), 60):
            flipped = bytearray(content)
            flipped[place] ^= 1 << rng.randrange(8)
            (tmp_path / name).write_bytes(flipped)
            try:
                state = load_backbone(str(tmp_path / name), target)
            except WeightsError as error:
                errors += 1
                assert readable(error) and name in str(error), f'bit flipped at {place}: {error}'
            else:
                assert same(state, expected), f'bit flipped at {place}'
        assert errors >= 40


def zipped(path, **members):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace('_', '.'), content)


def compressed_torch_file(path):
    torch.save({'a': torch.zeros(10)}, plain := io.BytesIO())
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for member in source.namelist():
            archive.writestr(member, source.read(member))


def tar_archive(path):
    """An old tar without a magic word; its first name is the magic number of torch's old format."""
    header = tarfile.TarInfo('x').tobuf(tarfile.USTAR_FORMAT)
    block = bytearray(header)
    block[: len(TORCH_LEGACY)] = TORCH_LEGACY
    block[257:265] = bytes(8)
    block[148:156] = b' ' * 8
    block[148:156] = b'%06o\0 ' % sum(block)
    path.write_bytes(bytes(block) + bytes(1024))


def bomb(path):
    """A zip of a few kilobytes that says it unpacks to 5 GiB."""
    zipped(path, fish_pth=bytes(2**20))
    content = bytearray(path.read_bytes())
    place = content.rindex(b'PK\x01\x02')
    content[place + 24 : place + 28] = struct.pack('<I', 0xFFFFFFF0)
    path.write_bytes(content + b'')


def lying_bomb(path):
    """A zip whose file is larger than it says."""
    zipped(path, fish_pth=bytes(2**22))
    content = bytearray(path.read_bytes())
    for place, size in ((content.index(b'PK\x03\x04') + 22, 100), (content.rindex(b'PK\x01\x02') + 24, 100)):
        content[place : place + 4] = struct.pack('<I', size)
    path.write_bytes(content)


NOT_WEIGHTS = {
    'a web page': (lambda p: p.write_text('<!DOCTYPE html><html>Sign in</html>'), 'web page'),
    'a web page after blanks': (lambda p: p.write_text('\n\n  <HTML>quota</HTML>'), 'web page'),
    'nothing': (lambda p: p.write_bytes(b''), 'empty'),
    'text': (lambda p: p.write_text('hello'), 'not a weight file'),
    'zeros': (lambda p: p.write_bytes(bytes(5000)), 'not a weight file'),
    'noise': (lambda p: p.write_bytes(random.Random(0).randbytes(5000)), 'not a weight file'),
    'a pointer': (lambda p: p.write_text('version https://git-lfs.github.com/spec/v1\n'), 'git lfs pull'),
    'gzip': (lambda p: p.write_bytes(gzip.compress(b'x')), 'gunzip'),
    'a bare pickle': (lambda p: p.write_bytes(pickle.dumps({'a': 1})), 'bare pickle'),
    'a folder': (lambda p: p.mkdir(), 'do not unpack'),
    'a tar': (lambda p: tarfile.open(p, 'w').close() or p.write_bytes(p.read_bytes()), 'not a weight file'),
    'a tar in disguise': (tar_archive, 'tar archive'),
    'a zip of two': (lambda p: zipped(p, a_pth=b'1', b_pth=b'2'), 'exactly one'),
    'a zip of nothing': (lambda p: zipped(p), 'damaged|not a weight'),
    'a zip of a page': (lambda p: zipped(p, fish_pth=b'<html>'), 'web page'),
    'a zip of text': (lambda p: zipped(p, fish_pth=b'x'), 'not a weight file'),
    'a zip bomb': (bomb, 'unpacks to|larger than'),
    'a lying zip': (lying_bomb, 'larger than|cannot be unpacked'),
    'a compressed torch file': (compressed_torch_file, 'compressed'),
    'a program': (lambda p: torch.jit.script(torch.nn.ReLU()).save(p), 'TorchScript'),
    'a list': (lambda p: torch.save([torch.ones(1)], p), 'list'),
    'a number': (lambda p: torch.save({'state_dict': {'conv1.0.weight': 3}}, p), 'not a tensor'),
    'numbered keys': (lambda p: torch.save({'state_dict': {1: torch.ones(1)}}, p), 'not a string'),
    'no weights': (lambda p: torch.save({'state_dict': {}}, p), 'no weights'),
    'an optimizer': (lambda p: torch.save({'optimizer': {'lr': 1}, 'epoch': 3}, p), 'not a tensor'),
    'a sparse tensor': (lambda p: torch.save({'a': torch.ones(2).to_sparse()}, p), 'dense'),
    'a tensor larger than its bytes': (
        lambda p: torch.save({'a': torch.ones(1).expand(2**20, 2**20)}, p),
        'dense',
    ),
    'a key that clears the screen': (
        lambda p: torch.save({'a\x1b[2J': torch.ones(2), 'b': torch.ones(1)}, p),
        r'\\x1b\[2J',
    ),
    'a key of many digits': (
        lambda p: torch.save({f'fish.fish.0.0.{"9" * 5000}.bn1.weight': torch.ones(1)}, p),
        'no known key naming',
    ),
    'not a number': (lambda p: torch.save({'a': torch.tensor([float('nan')])}, p), 'not finite'),
    'a negative variance': (lambda p: torch.save({'a.running_var': -torch.ones(2)}, p), 'negative'),
    'another network': (
        lambda p: torch.save({'layer1.weight': torch.ones(2), 'fc.bias': torch.ones(2)}, p),
        'no known key naming',
    ),
    'a header that asks for much': (
        lambda p: p.write_bytes(struct.pack('<Q', 2**60) + b'{}'),
        'not a weight file',
    ),
    'half a header': (lambda p: p.write_bytes(struct.pack('<Q', 9) + b'{"a":[1,2'), 'safetensors'),
}


@pytest.mark.parametrize('case', NOT_WEIGHTS)
def test_not_weights(tmp_path, target, case):
    make, message = NOT_WEIGHTS[case]
    path = tmp_path / 'fishnet150_ckpt.tar'
    make(path)
    with pytest.raises(WeightsError, match=message) as error:
        load_backbone(str(path), target)
    assert readable(error.value) and 'fishnet150_ckpt.tar' in str(error.value)


@pytest.mark.skipif(not os.path.exists('/proc/self/mem'), reason='needs a file that exists and cannot be read')
def test_a_file_that_cannot_be_read():
    with pytest.raises(WeightsError, match='/proc/self/mem cannot be read: '):
        read('/proc/self/mem')


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, narrow, monkeypatch):
    path = tmp_path / 'fish.safetensors'
    write(narrow, {}, path)
    before = path.read_bytes()
    monkeypatch.setattr(os, 'replace', lambda *_: (_ for _ in ()).throw(OSError(28, 'no space left')))
    with pytest.raises(OSError, match='no space'):
        write({'a': torch.ones(1)}, {}, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    assert same(read(path).state, narrow)
