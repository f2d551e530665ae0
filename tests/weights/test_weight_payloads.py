"""Malicious files: refused by every way in, and nothing in them is executed."""

import os
import subprocess
import zipfile
from collections import OrderedDict

import pytest
import torch
from seeded import NARROW
from weight_cases import Call, readable

from fishnet_mmdet import FishNet
from fishnet_mmdet.preflight.weights import check_pretrained
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
