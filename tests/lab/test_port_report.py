"""The report on ported configs: one line for each, whatever happens in its process; a second call goes on."""

import os
import time

import pytest

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.lab.port_report import run
from fishnet_mmdet.lab.port_report.page import page
from fishnet_mmdet.lab.port_report.steps import train_a_step
from fishnet_mmdet.project.port import port_config


def crash(name):
    os._exit(7)


def refuse(name):
    raise ConfigError(f'{name} has no ResNet')


@pytest.mark.parametrize(
    'step, timeout, outcome, reason',
    [
        (crash, 20, 'failed', 'the process ended with status 7'),
        (refuse, 20, 'refused', 'a has no ResNet'),
        (lambda name: 1 / 0, 20, 'failed', 'ZeroDivisionError: division by zero'),
        (lambda name: time.sleep(60), 0.2, 'failed', 'not done after 0.2 s'),
    ],
)
def test_one_failure_does_not_end_the_report(step, timeout, outcome, reason):
    assert run.in_child(step, 'a', timeout) == dict(outcome=outcome, reason=reason)


@pytest.mark.parametrize(
    'config',
    [
        'mmdet::openimages/faster-rcnn_r50_fpn_32xb2-1x_openimages.py',  # more classes than uint8 holds
        'mmdet::tood/tood_r50_fpn_1x_coco.py',  # asks for the epoch
        'mmdet::reid/reid_r50_8xb32-6e_mot17train80_test-mot17val20.py',
        'mmdet::masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_youtubevis2019.py',
        'mmdet::ld/ld_r50-gflv1-r101_fpn_1x_coco.py',  # names a teacher's config
    ],
)
def test_made_up_batches_suit_the_model(config):
    assert train_a_step(port_config(config, run.ARCH, scratch=True).config())['gradient'] > 0


def test_a_second_call_goes_on(tmp_path, monkeypatch):
    lines = tmp_path / 'new' / 'lines.jsonl'
    monkeypatch.setattr(run, 'about', lambda name, timeout: dict(config=name, number=len(run.read(lines))))
    list(run.run(['a', 'b'], lines, 1))
    assert list(run.run(['a', 'b', 'c'], lines, 1)) == [dict(config='c', number=2)]
    assert [record['config'] for record in run.read(lines)] == ['a', 'b', 'c']
    run.forget(['b'], lines)
    assert list(run.run(['a', 'b', 'c'], lines, 1)) == [dict(config='b', number=2)]


def test_the_list_is_spread_over_folders():
    names = run.config_names()
    assert len(names) == len(set(names)) and set(run.OTHERS) < set(names)
    folders = [name.partition('/')[0] for name in names[:40]]
    assert len(set(folders)) >= 39


def test_the_page_counts_and_lists():
    good = dict(outcome='trained', dropped=[])
    bad = dict(outcome='failed', reason='a | <b> __init__')
    records = [
        dict(config='m::f/x', fishnet=good, resnet=good),
        dict(config='m::a/w', fishnet=dict(outcome='trained', dropped=['dcn']), resnet=good),
        dict(config='m::f/y', fishnet=bad, resnet=good),
        dict(config='m::g/z', fishnet=dict(outcome='refused', reason='no'), resnet=good),
    ]
    text = page(records, 9)
    assert '4 of 9 configs were run' in ' '.join(text.split())
    assert '| both train | 2 |' in text and '`m::f/x`' not in text
    assert '| `m::f` | 1 | 1 | 2 |\n| `m::g` | 0 | 0 | 1 |' in text
    assert '| `m::f/y` | **FishNet fails, the ResNet trains** | a \\| &lt;b> \\_\\_init\\_\\_ |' in text
    assert '| `m::g/z` | refused; the ResNet trains | no |' in text
    assert text.index('| `m::g/z` |') < text.index('| `m::a/w` |')
