"""The comparison as a command: real runs that stop and go on.

For docs/compare.md, which shows the whole command.
"""

import json

import pytest
from compare_case import write_small
from conftest import CONFIGS

from fishnet_mmdet.training.stopping import STOPPED

NUCLEI = CONFIGS / 'experiments' / 'nuclei.py'


@pytest.fixture(scope='module')
def small(demo_data, tmp_path_factory):
    return write_small(tmp_path_factory.mktemp('experiment'), demo_data)


class TestTool:
    TOOL = 'tools/compare_backbones.py'

    def test_stops_goes_on_and_reports(self, small, tmp_path, call_tool):
        """From a folder outside the repo: trainings are processes of their own, of the package as it is installed."""
        out = tmp_path / 'out'
        stopped = call_tool(self.TOOL, small, '--out', out, '--minutes', 0.05, cwd=tmp_path)
        assert stopped.returncode == STOPPED, stopped.stdout + stopped.stderr
        assert '--resume' in stopped.stdout and not list(out.glob('*/*/*/result.json'))

        refused = call_tool(self.TOOL, small, '--out', out, cwd=tmp_path)
        assert refused.returncode == 1 and 'give --resume to continue them' in refused.stderr

        done = call_tool(self.TOOL, small, '--out', out, '--resume', cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        results = {path.parent.relative_to(out): json.loads(path.read_text()) for path in out.glob('*/*/*/result.json')}
        kinds = sorted(f'{folder.parent.name}/{folder.name}' for folder in results)
        assert [kind for kind in kinds if 'time' not in kind] == [
            'fish/epochs-seed-3', 'fish/rate-0.002', 'resnet/epochs-seed-3', 'resnet/rate-0.002',
        ]  # fmt: skip
        for folder, each in results.items():
            assert each['iterations'] == each['epochs'] * (3 if 'rate' in folder.name else 4), each
            assert list(each['segm_curve']) == [str(epoch) for epoch in range(1, each['epochs'] + 1)]
            assert each['iteration_ms'] > 0 and each['process_peak_mb'] > 100
        rows = json.loads((out / 'ap.json').read_text())['rows']
        assert all(row['AP_L'] is None for row in rows), 'there are no large objects'
        assert rows and (out / 'pictures_scratch.png').is_file()
        table = (out / 'ap.md').read_text()
        assert '1 of 1' in table and (out / 'curves.png').is_file()

        (out / 'ap.md').unlink()
        reported = call_tool(self.TOOL, small, '--out', out, '--report', '--seeds', 3, cwd=tmp_path)
        assert reported.returncode == 0 and (out / 'ap.md').read_text() == table

        config = out / 'configs' / 'scratch' / 'fish' / 'epochs-seed-3.py'
        config.write_text(config.read_text() + '\nx = 1\n')
        other = call_tool(self.TOOL, small, '--out', out, '--resume', '--kinds', 'epochs', cwd=tmp_path)
        assert (
            other.returncode == 1
            and 'holds a run of another config' in other.stderr
            and 'x was 1 and is -' in other.stderr
        )

        config.write_text(config.read_text().replace('\nx = 1\n', ''))
        moved_to = tmp_path / 'moved/to/a/folder/whose/path/is/longer/than/a/line/of/a/config'
        moved_to.parent.mkdir(parents=True)
        out.rename(moved_to)
        moved = call_tool(self.TOOL, small, '--out', moved_to, '--resume', cwd=tmp_path)
        assert moved.returncode == 0 and 'no pictures' not in moved.stdout, moved.stdout + moved.stderr
        for checkpoint in moved_to.glob('*/*/*/*.pth'):
            checkpoint.unlink()
        moved = call_tool(self.TOOL, small, '--out', moved_to, '--report', cwd=tmp_path)
        assert moved.returncode == 0 and 'no pictures of scratch: there is no' in moved.stdout

    def test_errors_name_the_fix(self, tmp_path, call_tool, monkeypatch):
        done = call_tool(self.TOOL, tmp_path / 'no.py')
        assert done.returncode == 1 and 'config file not found' in done.stderr
        done = call_tool(self.TOOL, NUCLEI, '--tracks', 'fast')
        assert done.returncode == 1 and '--tracks fast: nuclei has scratch, pretrained' in done.stderr
        done = call_tool(self.TOOL, NUCLEI, '--minutes', 0, '--out', tmp_path / 'never')
        assert done.returncode == 1 and '--minutes 0: must be above 0' in done.stderr
        with monkeypatch.context() as patch:
            patch.setenv('NUCLEI_ROOT', str(tmp_path))
            done = call_tool(self.TOOL, NUCLEI, '--out', tmp_path / 'out')
        assert done.returncode == 1 and 'is the data where the config says' in done.stderr

    def test_a_training_without_data_ends_the_comparison(self, tmp_path, call_tool, monkeypatch):
        """It is not a result: the same call goes on once the data are there."""
        monkeypatch.setenv('TINY_IMAGENET_ROOT', str(tmp_path / 'nowhere'))
        flags = ['--tracks', 'pretrained', '--backbones', 'resnet50', '--out', tmp_path / 'other']
        done = call_tool(self.TOOL, NUCLEI, *flags)
        assert done.returncode == 1 and 'pretrained/resnet50/pretrain: ' in done.stderr, done.stderr
        assert 'nowhere' in done.stderr and done.stderr.startswith('error: ')
        assert not list(tmp_path.glob('other/*/*/*/result.json'))
