"""Downloads against a server of our own: cut, redirected, wrong, not there; no incomplete file stays in the cache."""

import hashlib
import threading
import time
import zipfile

import pytest
import torch
from data_server import Handler, serving
from seeded import seeded_classifier

from fishnet_mmdet.weights import download
from fishnet_mmdet.weights.catalogue import NamedWeights
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.load import load


class OtherAnswers(Handler):
    """Answers some addresses with something else than a file."""

    def do_GET(self):
        moved = {'/moved': f'{self.server.url}/fish.pth', '/insecure': 'http://example.com/fish.pth'}
        pages = {'/page': b'<html>Sign in</html>', '/secretpage': b'<html>Too many downloads</html>'}
        place = f'/{self.path.split("/")[1]}'
        if place in moved:
            self.answer(302, Location=moved[place])
        elif place in pages:
            headers = {'Content-Type': 'text/html; charset=utf-8'} if place == '/page' else {}
            self.answer(200, pages[place], **headers)
        elif place == '/bomb':
            self.answer(200, **{'Content-Length': str(2**40)})
        else:
            super().do_GET()


@pytest.fixture(scope='module')
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp('served') / 'fish.pth'
    torch.save(seeded_classifier().state_dict(), path)
    return path.read_bytes()


@pytest.fixture
def server(content, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    with serving({'/fish.pth': content}, OtherAnswers) as server:
        server.content, server.etag = content, '"1"'
        yield server


def named(server, path='/fish.pth', checksum='right', more=()):
    if checksum == 'right':
        checksum = f'sha256:{hashlib.sha256(server.content).hexdigest()}'
    return NamedWeights(
        arch='fishnet99',
        urls=(server.url + path, *more),
        checksum=checksum,
        naming='own',
        schedule='none',
        top1=None,
        top5=0.0,
        origin='a test',
    )


def cached():
    """The files in the cache, without locks."""
    return sorted(p.name for p in download.cache_folder().iterdir() if p.suffix != '.lock')


def test_a_file_of_torch_hub_is_taken_if_its_name_holds_its_hash(server):
    mark = hashlib.sha256(server.content).hexdigest()[:8]
    url = f'{server.url}/fish-{mark}.pth'
    of_hub = download.cache_folder() / f'fish-{mark}.pth'
    of_hub.parent.mkdir(parents=True)
    of_hub.write_bytes(b'another file')
    with pytest.raises(WeightsError, match='could not be downloaded'):
        download.obtain_url(url)
    of_hub.write_bytes(server.content)
    assert download.obtain_url(url) == of_hub


def test_a_shared_cache_that_is_read_only(server, monkeypatch):
    path = download.obtain(named(server))

    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(download.FileLock, 'acquire', refuse)
    assert download.obtain(named(server)) == path
    path.unlink()
    with pytest.raises(WeightsError, match='fish.pth is not in .*, which cannot be written to: .*TORCH_HOME'):
        download.obtain(named(server))


def test_downloads_once(server):
    path = download.obtain(named(server))
    assert path == download.cache_folder() / 'fish.pth' and path.read_bytes() == server.content
    assert download.obtain(named(server)) == path
    assert len(server.seen) == 1 and cached() == ['fish.pth']


def test_an_address_is_a_source_too(server):
    weights = load(f'{server.url}/fish.pth')
    assert weights.renamed.state.keys() == seeded_classifier().state_dict().keys()


def test_an_interrupted_download_continues(server):
    server.cuts = cuts = 3
    assert download.obtain(named(server)).read_bytes() == server.content
    asked = [int(r.removeprefix('bytes=').removesuffix('-')) for _, r in server.seen if r]
    assert len(server.seen) == cuts + 1 and asked == sorted(asked) and asked[0] == len(server.content) // 2


def test_a_later_call_continues_an_earlier_one(server):
    part = download.cache_folder() / 'fish.pth.part'
    part.parent.mkdir(parents=True)
    part.write_bytes(server.content[:1000])
    assert download.obtain(named(server)).read_bytes() == server.content
    assert server.seen == [('/fish.pth', 'bytes=1000-')]


def test_without_a_checksum_no_old_part_is_used(server):
    part = download.cache_folder() / 'fish.pth.part'
    part.parent.mkdir(parents=True)
    part.write_bytes(b'of another file')
    assert download.obtain(named(server, checksum=None)).read_bytes() == server.content
    assert server.seen == [('/fish.pth', None)]


def test_a_file_that_changes_on_the_way(server, monkeypatch):
    """Cut, and meanwhile replaced: the new file is downloaded from its beginning, not joined to the old one."""
    server.cuts = 1
    original = download.Transfer._fetch_rest

    def changing(self, progress):
        try:
            return original(self, progress)
        finally:
            server.etag = '"2"'

    monkeypatch.setattr(download.Transfer, '_fetch_rest', changing)
    assert download.obtain(named(server)).read_bytes() == server.content


def test_a_part_that_is_not_the_beginning(server):
    """Too long for the file: the server refuses the range, or the checksum is wrong; the next call begins again."""
    part = download.cache_folder() / 'fish.pth.part'
    part.parent.mkdir(parents=True)
    part.write_bytes(b'x' * 1000)
    with pytest.raises(WeightsError, match='wrong checksum|not a weight file'):
        download.obtain(named(server))
    assert cached() == []
    assert download.obtain(named(server)).read_bytes() == server.content


def test_a_wrong_checksum_is_refused_and_removed(server):
    wrong = f'sha256:{"0" * 64}'
    with pytest.raises(WeightsError) as error:
        download.obtain(named(server, checksum=wrong))
    seen = hashlib.sha256(server.content).hexdigest()
    for part in (server.url, wrong, seen, str(download.cache_folder() / 'fish.pth'), 'by hand'):
        assert part in str(error.value)
    assert cached() == []


def test_a_file_put_by_hand_is_found_and_checked_but_never_removed(server):
    path = download.cache_folder() / 'fish.pth'
    path.parent.mkdir(parents=True)
    path.write_bytes(server.content)
    assert download.obtain(named(server)) == path and not server.seen
    path.write_bytes(b'mine')
    with pytest.raises(WeightsError, match='delete or replace'):
        download.obtain(named(server))
    assert path.read_bytes() == b'mine'


def test_a_missing_checksum_is_logged_with_the_files_hash(server, caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        download.obtain(named(server, checksum=None))
    finally:
        logger.removeHandler(caplog.handler)
    assert 'no checksum is published' in caplog.text
    assert hashlib.sha256(server.content).hexdigest() in caplog.text


def test_redirects(server):
    assert download.obtain(named(server, '/moved/fish.pth')).read_bytes() == server.content
    with pytest.raises(WeightsError, match=r'example.com.*HTTPS only'):
        download.obtain(named(server, '/insecure/other.pth'))


@pytest.mark.parametrize(
    'path, message',
    [
        ('/gone/a.pth', '404'),
        ('/page/a.pth', 'web page'),
        ('/secretpage/a.pth', 'web page'),
        ('/bomb/a.pth', 'more than'),
    ],
)
def test_what_is_not_the_file(server, path, message):
    with pytest.raises(WeightsError, match=message) as error:
        download.obtain(named(server, path, checksum=None))
    assert 'by hand' in str(error.value) and str(download.cache_folder() / 'a.pth') in str(error.value)
    assert cached() == []


def test_a_file_without_length_that_never_ends(server, monkeypatch):
    monkeypatch.setattr(download, 'MAX_BYTES', 1000)
    server.states_length = False
    with pytest.raises(WeightsError, match='more than 1,000 bytes'):
        download.obtain(named(server))
    assert cached() == []


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    dead = NamedWeights(
        arch='fishnet99',
        urls=('http://127.0.0.1:9/fish.pth',),
        checksum='sha1:12',
        naming='own',
        schedule='none',
        top1=None,
        top5=0.0,
        origin='a test',
    )
    started = time.monotonic()
    with pytest.raises(WeightsError) as error:
        download.obtain(dead)
    assert time.monotonic() - started < 10
    for part in (
        'http://127.0.0.1:9/fish.pth',
        'sha1:12',
        'Other weights of fishnet99: fishnet://fishnet99-imagenet',
        str(tmp_path / 'hub' / 'checkpoints' / 'fish.pth'),
    ):
        assert part in str(error.value)


def test_a_cache_folder_that_cannot_be_created(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'file'))
    with pytest.raises(WeightsError, match='cannot be written to: .*TORCH_HOME'):
        download.obtain_url('https://example.com/fish.pth')


def test_https_only(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    for address in ('http://example.com/fish.pth', 'ftp://example.com/fish.pth'):
        with pytest.raises(WeightsError, match='HTTPS only'):
            download.obtain_url(address)


def test_the_second_source_where_the_first_fails(server):
    weights = named(server, '/gone/fish.pth', more=(f'{server.url}/fish.pth',))
    assert download.obtain(weights).read_bytes() == server.content


def test_a_zip_is_unpacked_and_its_content_checked(server, content, tmp_path):
    with zipfile.ZipFile(tmp_path / 'fish.pth.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('fish.pth', content)
    checksum = f'sha1:{hashlib.sha1(content).hexdigest()}'
    server.files['/fish.pth.zip'] = (tmp_path / 'fish.pth.zip').read_bytes()
    weights = named(server, '/fish.pth.zip', checksum)
    assert download.obtain(weights).read_bytes() == content
    assert cached() == ['fish.pth']


def test_simultaneous_calls_download_once(server):
    threads = [threading.Thread(target=download.obtain, args=(named(server),)) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(server.seen) == 1 and cached() == ['fish.pth']
