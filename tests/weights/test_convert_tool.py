"""`tools/convert_checkpoint.py`: what it writes, and its errors."""

import pytest
import torch
from seeded import seeded_classifier
from weight_cases import in_naming, same

from fishnet_mmdet.weights.namings import OFFICIAL
from fishnet_mmdet.weights.reading import read


@pytest.fixture(scope='module')
def narrow():
    return seeded_classifier().state_dict()


class TestTool:
    def test_converts(self, tmp_path, run_tool, narrow):
        torch.save(in_naming(narrow, OFFICIAL), tmp_path / 'source.tar')
        done = run_tool('tools/convert_checkpoint.py', tmp_path / 'source.tar', tmp_path / 'fish.safetensors')
        assert done.returncode == 0, done.stderr
        assert 'official key naming' in done.stdout and read(tmp_path / 'fish.safetensors').sha256 in done.stdout

    def test_flags(self, tmp_path, narrow, call_tool):
        live = {f'module.{key}': value for key, value in narrow.items()} | {'steps': torch.tensor(3)}
        average = {key: value + 1 if value.is_floating_point() else value for key, value in narrow.items()}
        torch.save({'state_dict': average, 'ema_state_dict': live}, tmp_path / 'epoch_1.pth')
        arguments = [tmp_path / 'epoch_1.pth', tmp_path / 'fish.pth', '--hash-in-name', '--take']
        for take, state in (('live', narrow), ('average', average)):
            (tmp_path / 'fish.pth').touch()
            done = call_tool('tools/convert_checkpoint.py', *arguments, take, '--overwrite')
            (path,) = tmp_path.glob('fish-*.pth')
            file = read(path)
            assert path.name == f'fish-{file.sha256[:8]}.pth' and same(file.state, state)
            assert str(path) in done.stdout
            path.unlink()

    @pytest.mark.parametrize(
        'source, target, message',
        [
            ('page.tar', 'x.pth', 'page.tar is not a weight file: it is a web page'),
            ('', 'x.pth', 'is a folder'),
            ('fish.pth', 'fish.pth', 'fish.pth exists already: name another file, or add --overwrite'),
        ],
    )
    def test_a_wrong_file_is_one_line(self, tmp_path, narrow, call_tool, source, target, message):
        (tmp_path / 'page.tar').write_text('<!DOCTYPE html><title>Sign in</title>')
        torch.save(narrow, tmp_path / 'fish.pth')
        done = call_tool('tools/convert_checkpoint.py', tmp_path / source, tmp_path / target)
        assert done.returncode == 1 and done.stderr.startswith('error: ') and message in done.stderr

    def test_a_target_that_is_a_folder(self, tmp_path, narrow, call_tool):
        torch.save(narrow, tmp_path / 'fish.pth')
        (tmp_path / 'out.pth').mkdir()
        done = call_tool('tools/convert_checkpoint.py', tmp_path / 'fish.pth', tmp_path / 'out.pth', '--overwrite')
        assert done.returncode == 1 and 'out.pth cannot be written' in done.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ['fish.pth', 'out.pth']
