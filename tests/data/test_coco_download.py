"""get-coco against a server of our own with a small stand-in: interrupted, wrong, hostile, complete, no space.

For docs/training.md, which shows the whole command.
"""

import hashlib
import io
import os
import shutil
import stat
import time
import zipfile
from dataclasses import replace

import pytest
from conftest import REPO
from data_server import serving
from filelock import FileLock

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.commands import get_coco, run_command
from fishnet_mmdet.data import coco_download
from fishnet_mmdet.data.coco_download import CocoDownload
from fishnet_mmdet.data.coco_files import MIRROR, PARTS, CocoPart

IMAGES = {f'val2017/{i:012}.jpg': os.urandom(3000 + i) for i in range(40)}
NOTES = {f'annotations/{kind}_{split}2017.json': b'{"images": []}' * 50 for kind in 'abc' for split in ('train', 'val')}


def zipped(files):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f'{next(iter(files)).partition("/")[0]}/', b'')
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


def part_of(name, place, content, files):
    return CocoPart(name, place, len(content), hashlib.sha256(content).hexdigest(), files, len(content))


VAL_ZIP, NOTES_ZIP = zipped(IMAGES), zipped(NOTES)
VAL = part_of('val2017', 'zips/val2017.zip', VAL_ZIP, len(IMAGES))
ANNOTATIONS = part_of('annotations', 'annotations/annotations_trainval2017.zip', NOTES_ZIP, len(NOTES))


@pytest.fixture
def server():
    with serving({f'/{VAL.place}': VAL_ZIP, f'/{ANNOTATIONS.place}': NOTES_ZIP}) as server:
        yield server


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'coco').mkdir()
    return tmp_path / 'coco'


@pytest.fixture
def get(server, root):
    def run(*parts, **settings):
        CocoDownload(root, server.url, **settings).get(parts or [ANNOTATIONS, VAL])

    return run


def tree(root):
    """Every file by path, without the records."""
    files = {str(path.relative_to(root)): path for path in root.rglob('*') if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith('.get-coco')}


class TestGets:
    def test_the_tree_that_configs_expect(self, get, server, root):
        get()
        assert tree(root) == {**NOTES, **IMAGES}
        assert server.seen == [(f'/{ANNOTATIONS.place}', None), (f'/{VAL.place}', None)]

    def test_nothing_the_second_time(self, get, server, capsys):
        get()
        server.seen.clear()
        capsys.readouterr()
        started = time.monotonic()
        get()
        assert time.monotonic() - started < 2 and server.seen == []
        assert 'val2017: complete, 40 files' in capsys.readouterr().out

    def test_again_what_is_missing_and_nothing_that_is_changed(self, get, server, root, capsys):
        get()
        gone, changed = root / 'val2017' / '000000000003.jpg', root / 'val2017' / '000000000005.jpg'
        gone.unlink()
        times = {path: path.stat().st_mtime_ns for path in (root / 'val2017').iterdir()}
        get()
        assert tree(root) == {**NOTES, **IMAGES} and len(server.seen) == 3
        assert '1 of 40 files are missing or changed' in capsys.readouterr().out
        # The others are not written again.
        assert {path: path.stat().st_mtime_ns for path in times} == times
        changed.write_bytes(b'mine')
        with pytest.raises(UserError, match=f'{changed} differs from the file in the archive'):
            get()
        assert changed.read_bytes() == b'mine'

    def test_archives_are_kept_on_request(self, get, root):
        get(VAL, keep_archives=True)
        assert (root / 'val2017.zip').read_bytes() == VAL_ZIP

    def test_an_archive_put_there_by_hand_is_taken_after_a_check(self, get, server, root):
        (root / 'val2017.zip').write_bytes(b'x' * VAL.size)
        with pytest.raises(UserError, match=r'val2017.zip: wrong checksum.*Delete it'):
            get(VAL)
        (root / 'val2017.zip').write_bytes(VAL_ZIP)
        get(VAL)
        assert tree(root) == IMAGES and server.seen == []

    def test_a_tree_unpacked_by_hand_is_accepted_by_its_number_of_files(self, get, server, root, capsys):
        with zipfile.ZipFile(io.BytesIO(VAL_ZIP)) as archive:
            archive.extractall(root)
        get(VAL)
        assert server.seen == [] and 'did not unpack or check them' in capsys.readouterr().out
        get(replace(VAL, needed=('other.json',)))
        assert len(server.seen) == 1

    def test_not_in_two_calls_at_once(self, get, root):
        (root / '.get-coco').mkdir()
        with FileLock(root / '.get-coco' / 'lock'), pytest.raises(UserError, match='another get-coco'):
            get()


class TestInterrupted:
    def test_connections(self, get, server, root):
        server.cuts = 9  # more than may bring nothing
        get(VAL)
        starts = [int(asked.removeprefix('bytes=').removesuffix('-')) for _, asked in server.seen if asked]
        assert tree(root) == IMAGES
        assert len(starts) == 9 and starts == sorted(set(starts))

    def test_an_earlier_call(self, get, server, root):
        (root / 'val2017.zip.part').write_bytes(VAL_ZIP[:5000])
        get(VAL)
        assert tree(root) == IMAGES and server.seen == [(f'/{VAL.place}', 'bytes=5000-')]

    def test_an_earlier_call_that_ended_after_the_last_byte(self, get, server, root):
        """A server has no rest to send, and answers with an error."""
        (root / 'val2017.zip.part').write_bytes(VAL_ZIP)
        get(VAL)
        assert tree(root) == IMAGES and server.seen == []

    def test_a_server_without_ranges(self, get, server, root):
        server.cuts, server.honours_range = 2, False
        get(VAL)
        assert tree(root) == IMAGES and len(server.seen) == 3

    def test_a_server_that_never_gets_further_is_given_up(self, get, server):
        server.cuts, server.honours_range = 100, False
        with pytest.raises(UserError, match='interrupted.*The same command continues'):
            get(VAL)
        assert len(server.seen) == 6

    def test_while_it_unpacks(self, get, server, root, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(coco_download, 'unpack', stopping_after(10, coco_download.unpack))
            with pytest.raises(KeyboardInterrupt):
                get(VAL)
        assert len(list((root / 'val2017').iterdir())) == 10
        get(VAL)
        assert tree(root) == IMAGES and len(server.seen) == 1


def stopping_after(count, unpack):
    def stop(archive, files, root, progress):
        unpack(archive, files[:count], root, progress)
        raise KeyboardInterrupt

    return stop


class TestRefused:
    def test_a_wrong_size(self, get, root):
        """Before the download; what is there of an earlier one is kept."""
        (root / 'val2017.zip.part').write_bytes(VAL_ZIP[:5000])
        with pytest.raises(UserError, match=f'has {VAL.size:,} bytes instead of {VAL.size + 1:,}'):
            get(replace(VAL, size=VAL.size + 1))
        assert (root / 'val2017.zip.part').stat().st_size == 5000

    def test_a_wrong_checksum(self, get, root):
        with pytest.raises(UserError, match='wrong checksum: sha256 .* instead of 000'):
            get(replace(VAL, sha256='0' * 64))
        assert tree(root) == {}

    def test_a_wrong_number_of_files(self, get, root):
        with pytest.raises(UserError, match='has 40 files instead of 41'):
            get(replace(VAL, files=41))
        assert not (root / 'val2017').exists()

    @pytest.mark.parametrize(
        'name, reason',
        [
            ('../outside.jpg', 'leaves the folder'),
            ('val2017/../../outside.jpg', 'leaves the folder'),
            ('/outside.jpg', 'leaves the folder'),
            ('val2017\\..\\..\\outside.jpg', 'leaves the folder'),
            ('C:/outside.jpg', 'leaves the folder'),
            ('train2017/other.jpg', 'is not in val2017/'),
            ('val2017/link', 'a link or another special file'),
            (next(iter(IMAGES)), 'is there twice'),
        ],
    )
    @pytest.mark.filterwarnings('ignore:Duplicate name')
    def test_a_member_elsewhere(self, get, server, root, tmp_path, name, reason):
        memory = io.BytesIO()
        memory.write(VAL_ZIP)
        with zipfile.ZipFile(memory, 'a') as archive:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16 if name.endswith('link') else 0
            archive.writestr(info, '/etc/passwd')
        server.files[f'/{VAL.place}'] = memory.getvalue()
        with pytest.raises(UserError, match=f'is refused: .*{reason}'):
            get(part_of('val2017', VAL.place, memory.getvalue(), 41))
        assert not (root / 'val2017').exists() and list(tmp_path.iterdir()) == [root]

    def test_a_damaged_member(self, get, server):
        content = bytearray(VAL_ZIP)
        content[content.index(b'000000000007.jpg') + 1000] ^= 1
        server.files[f'/{VAL.place}'] = bytes(content)
        with pytest.raises(UserError, match=r'000000000007.jpg. cannot be unpacked'):
            get(part_of('val2017', VAL.place, bytes(content), 40))

    def test_other_protocols(self, root):
        with pytest.raises(UserError, match='HTTPS only'):
            CocoDownload(root, 'http://example.com').get([VAL])


class TestSpace:
    def free(self, monkeypatch, amount):
        usage = shutil.disk_usage('/')._replace(free=amount)
        monkeypatch.setattr(coco_download.shutil, 'disk_usage', lambda path: usage)

    def test_is_checked_before_anything(self, get, server, monkeypatch):
        self.free(monkeypatch, 10_000)
        with pytest.raises(UserError, match=r'annotations, val2017 need about .* 0.0 GB free.*--only.*--any-space'):
            get()
        assert server.seen == []

    @pytest.mark.parametrize('keep, needed', [(False, 5000), (True, 6000)])
    def test_an_archive_that_is_removed_makes_room_for_the_next(self, root, monkeypatch, keep, needed):
        parts = [replace(VAL, name=name, place=f'{name}.zip', size=1000, unpacked=2000) for name in 'ab']
        download = CocoDownload(root, keep_archives=keep)
        self.free(monkeypatch, needed + coco_download.WORK)
        download._check_space(parts)
        (root / 'a.zip.part').write_bytes(b'x' * 400)  # is not downloaded again
        self.free(monkeypatch, needed + coco_download.WORK - 400)
        download._check_space(parts)
        self.free(monkeypatch, needed + coco_download.WORK - 401)
        with pytest.raises(UserError, match='a, b need about'):
            download._check_space(parts)


class TestCommand:
    @pytest.fixture(autouse=True)
    def stand_ins(self, monkeypatch):
        monkeypatch.setattr(get_coco, 'PARTS', {'annotations': ANNOTATIONS, 'val2017': VAL})

    def test_only_some_parts(self, server, tmp_path, capsys):
        folder = tmp_path / 'c'
        flags = ['--only', 'val2017', '--mirror', server.url, '--keep-archives', '--any-space']
        assert run_command('get-coco', [str(folder), *flags]) == 0
        assert tree(folder) == {**IMAGES, 'val2017.zip': VAL_ZIP}
        assert f'COCO_ROOT={folder}' in capsys.readouterr().out

    def test_a_file_in_place_of_the_folder(self, tmp_path):
        (tmp_path / 'f').touch()
        with pytest.raises(SystemExit, match='error: .* it is not a folder'):
            run_command('get-coco', [str(tmp_path / 'f')])

    def test_ctrl_c(self, server, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(coco_download, 'unpack', stopping_after(3, coco_download.unpack))
        assert run_command('get-coco', [str(tmp_path / 'c'), '--mirror', server.url]) == 130
        assert 'the same command continues' in capsys.readouterr().out


def test_the_table_is_that_of_coco():
    assert MIRROR.startswith('https://') and set(PARTS) == {'annotations', 'val2017', 'train2017'}
    page = (REPO / 'docs' / 'training.md').read_text()
    for part in PARTS.values():
        assert f'| `{part.name}` | {part.size:,} | {part.files:,} | `{part.sha256}` |' in page
