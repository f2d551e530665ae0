"""The config of a run as `plot` reads it, and what differs between runs."""

import pytest
from run_folders import CONFIG, OTHER, seed

from fishnet_mmdet.runs.differing import differing
from fishnet_mmdet.runs.settings import MISSING, Difference, differences, read_settings, same_but_for_the_seed


class TestSettings:
    @pytest.fixture
    def read(self, tmp_path):
        def settings(text):
            (tmp_path / 'config.py').write_text(text)
            return read_settings(tmp_path / 'config.py')

        return settings

    def test_is_read_and_never_executed(self, read, tmp_path):
        found = read(f"a = open({str(tmp_path / 'x')!r}, 'w')\nb = dict(c=(1, -2.5), **d)\nimport os\ne = None")
        assert found == {'a': f"open('{tmp_path / 'x'}', 'w')", 'b': {'c': [1, -2.5]}, 'e': None}
        assert not (tmp_path / 'x').exists()

    def test_keys_that_are_tuples(self, read):
        assert read('a = {(1, 2): 3, 4: 5}') == {'a': {'(1, 2)': 3, 4: 5}}

    def test_one_that_cannot_be_read(self, read, tmp_path):
        assert read('a = (') == {} and read_settings(tmp_path / 'nothing.py') == {}
        assert read('a = ' + '1 + ' * 5000 + '1') == {} and read('a = ' + '-' * 9000 + '1') == {}

    def test_a_literal_that_is_none(self, read):
        assert read('a = {[1]}\nb = 2') == {'a': '{[1]}', 'b': 2}

    def test_what_mmengine_writes(self, tmp_path, demo_config):
        demo_config.dump(tmp_path / 'config.py')
        settings = read_settings(tmp_path / 'config.py')
        assert settings['train_cfg']['max_epochs'] == 10
        assert settings['model']['backbone']['arch']['tail'] == [1, 2, 2]

    def test_differences(self, read):
        a = read(CONFIG)
        b = read(
            OTHER.replace('lr=0.02', 'lr=0.01').replace('end=500', 'end=100').replace('work_dirs/a', 'work_dirs/b')
        )
        assert {d.key: d.texts() for d in differences([a, b])} == {
            'model.backbone.type': ["'ResNet'", "'FishNet'"],
            'model.backbone.depth': ['50', '-'],
            'model.backbone.frozen_stages': ['1', '-'],
            'model.backbone.arch': ['-', "'fishnet99'"],
            'optim_wrapper.optimizer.lr': ['0.02', '0.01'],
            'param_scheduler[0].end': ['500', '100'],
        }

    def test_a_setting_that_one_run_lacks(self, read):
        one, other = read(CONFIG), read(CONFIG.replace('frozen_stages=1, ', ''))
        (difference,) = differences([one, other])
        assert difference.key == 'model.backbone.frozen_stages' and difference.texts() == ['1', '-']

    @pytest.mark.parametrize(
        'key, values, text',
        [
            ('model.backbone.depth', (50, 101), 'backbone.depth (50, 101)'),
            ('randomness.seed', ([0, 1], 0), 'randomness.seed ([0, 1], 0)'),
            ('a.type', ('mmdet.DETR', 'FCOS'), 'a (DETR, FCOS)'),
            ('a.b.c', ('x' * 23, 'y'), 'b.c'),
            ('a', (None, MISSING), 'a (None, not set)'),
        ],
    )
    def test_a_setting_in_short_form(self, key, values, text):
        assert differing([Difference(key, values)]) == text

    def test_settings_of_the_same_name_have_longer_names(self):
        pair = [Difference(f'{where}.neck.width', (1, 2)) for where in ('student', 'teacher')]
        assert differing(pair) == 'student.neck.width (1, 2); teacher.neck.width (1, 2)'

    def test_all_settings_of_a_backbone_that_differ_and_the_rest_is_counted(self, read):
        one = read("model = dict(backbone=dict(depth=50, norm_cfg=dict(type='BN'), frozen_stages=1, type='ResNet'))")
        other = read(
            "model = dict(backbone=dict(norm_cfg=dict(type='SyncBN'), frozen_stages=0, type='FishNet'))\nx = 1"
        )
        assert differing(differences([one, other])) == (
            'backbone (ResNet, FishNet) with norm_cfg (BN, SyncBN), frozen_stages (1, 0) and depth (50, not set); '
            'x (not set, 1)'
        )
        many = [Difference(f'model.head_{n}.width', (n, n + 1)) for n in range(200)]
        text = differing(many)
        named = text.count('.width')
        assert text.endswith(f'; and {200 - named} more') and named > 10 and len(text) < 600

    def test_seeds(self, read):
        assert same_but_for_the_seed(read(CONFIG), read(seed(1)))
        assert not same_but_for_the_seed(read(CONFIG), read(OTHER)) and not same_but_for_the_seed({}, {})
        without = CONFIG.replace('randomness = dict(seed=0)', '')
        assert same_but_for_the_seed(read(without), read(CONFIG)) and same_but_for_the_seed(
            read(without), read(without)
        )

    @pytest.mark.parametrize(
        'weights, same',
        [
            (('tiny/net-4-4/epoch_4.pth', 'tiny/net-4-12/epoch_4.pth'), True),
            (('tiny/net-4-4/epoch_4.pth', 'tiny/net-4-12/epoch_12.pth'), True),
            (('tiny/net-4/epoch_4.pth', 'tiny/net-12/epoch_5.pth'), False),
            (('tiny/net-4.pth', 'coco/net-12.pth'), False),
            (('tiny/net-1.pth', 'tiny/net-2.pth'), False),
        ],
    )
    def test_weights_may_be_named_by_the_seed(self, weights, same, read):
        one, other = (
            read(f'{seed(s)}\ninit_cfg = dict(checkpoint={w!r})') for s, w in zip((4, 12), weights, strict=True)
        )
        assert same_but_for_the_seed(one, other) is same

    def test_seeds_of_runs_without_bad_entries(self, read):
        """`train --skip-bad` trains with a file in its own work dir."""

        def cleaned(number, folder, prefix=''):
            text = seed(number).replace("'./work_dirs/a'", repr(folder))
            file = f'{prefix}{folder.removeprefix("./")}/preflight/train_0.json'
            return f'{text}\ntrain_dataloader = dict(dataset=dict(datasets=[dict(ann_file={file!r})]))'

        one, other = cleaned(0, './work_dirs/a', '/home/me/'), cleaned(1, '/home/me/work_dirs/b')
        assert same_but_for_the_seed(read(one), read(other))
        assert not same_but_for_the_seed(read(one), read(other.replace('train_0', 'train_1')))
