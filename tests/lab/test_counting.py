"""Parameters, convolutions and multiply-adds of any network, and of each part of a FishNet."""

import json
from functools import cache

import pytest
import torch
from seeded import NARROW

from fishnet_mmdet.lab.counting import count, count_model, count_parts
from fishnet_mmdet.lab.paper import tables as paper
from fishnet_mmdet.network.arch import ARCHS, PUBLISHED

READING = {  # a published reading of the authors' code: convolutions of input, tail, bridge, body, head, score
    'fishnet99': [3, 7, 7, 19, 11, 6, 6, 6, 6, 9, 18, 1, 1],
    'fishnet150': [3, 7, 13, 25, 17, 12, 12, 12, 12, 12, 24, 1, 1],
}

parts_of = cache(count_parts)
"""Counts each name once, for all tests."""


class TestCounting:
    def test_by_hand(self):
        with torch.device('meta'):
            grouped = torch.nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
            net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1, bias=False), torch.nn.BatchNorm2d(4), grouped)
        counts = count(net)
        assert counts.parameters == 3 * 4 + 2 * 4 + 8 * 2 * 9 + 8
        assert counts.convolutions == 2
        assert counts.gmacs * 1e9 == pytest.approx(224 * 224 * 4 * 3 + 112 * 112 * 8 * 2 * 9)

    @pytest.mark.parametrize(
        'model, options, parameters',
        [  # as torchvision documents them; the last is the released ResNeXt-101 32x4d
            ('resnet50', (), 25_557_032),
            ('densenet121', (), 7_978_856),
            ('resnext50_32x4d', (), 25_028_904),
            ('resnet101', (('groups', 32), ('width_per_group', 4)), 44_177_704),
        ],
    )
    def test_other_networks(self, model, options, parameters):
        assert count_model(model, options).parameters == parameters

    def test_what_is_not_here_is_not_counted(self):
        assert count_model('fishnet1') is None
        assert count_model('fishnet150', (('no_such_field', 1),)) is None


class TestParts:
    @pytest.mark.parametrize('name, convolutions', READING.items())
    def test_convolutions_as_read(self, name, convolutions):
        assert [part.convolutions for part in parts_of(name)] == convolutions

    @pytest.mark.parametrize('name', ARCHS)
    def test_i_convs(self, name):
        i_convs = {part.part: part.i_convs for part in parts_of(name) if part.i_convs}
        assert i_convs == {**{f'tail, stage {s}': 1 for s in (1, 2, 3)}, 'bridge, stage 4': 1}

    @pytest.mark.parametrize('name', ARCHS)
    def test_bottlenecks_are_those_of_the_architecture(self, name):
        parts = parts_of(name)[1:-2]
        arch = ARCHS[name]
        assert [p.bottlenecks for p in parts] == [*arch.tail, arch.bridge, *arch.body, *arch.head]
        assert [p.transfer for p in parts] == [0] * 4 + [*arch.body_transfer, *arch.head_transfer]

    def test_shapes_go_from_stage_to_stage(self):
        parts = parts_of('fishnet99')
        for before, after in zip(parts, parts[1:], strict=False):
            assert after.trunk == before.output
        assert [p.output for p in parts[1:8]] == [
            '128 @ 1/8', '256 @ 1/16', '512 @ 1/32', '512 @ 1/32', '768 @ 1/16', '512 @ 1/8', '320 @ 1/4',
        ]  # fmt: skip
        assert [p.skip for p in parts[5:11]] == [
            '256 @ 1/16', '128 @ 1/8', '64 @ 1/4', '512 @ 1/8', '768 @ 1/16', '512 @ 1/32',
        ]  # fmt: skip
        assert parts[-1].output == '1000'

    def test_a_custom_architecture(self):
        parts = count_parts(NARROW)
        assert [p.output for p in parts[8:11]] == ['56 @ 1/8', '104 @ 1/16', '136 @ 1/32']
        assert [p.bottlenecks + p.transfer for p in parts[1:-2]] == [1, 2, 1, 1, 2, 2, 2, 2, 2, 3]

    def test_the_last_row_adds_up(self):
        table = paper.parts_table('99')
        assert table.name == 'parts_fishnet99'
        *rows, total = json.loads(table.json())['rows']
        for column in ('bottlenecks, trunk', 'bottlenecks, transfer', 'I-convs', 'convolutions'):
            assert total[column] == sum(row[column] for row in rows)
        assert total['convolutions'] == PUBLISHED['fishnet99'].convolutions
