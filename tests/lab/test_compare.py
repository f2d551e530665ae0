"""Backbone against backbone: what is run, in which order, alike but for the backbone; tables and curves."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from compare_case import SMALL, result, write_small
from conftest import CONFIGS
from mmengine.config import Config

from fishnet_mmdet.lab.compare import execute
from fishnet_mmdet.lab.compare.configure import check_backbones
from fishnet_mmdet.lab.compare.curves import draw_curves
from fishnet_mmdet.lab.compare.execute import prepare
from fishnet_mmdet.lab.compare.experiment import CompareError, read_experiment
from fishnet_mmdet.lab.compare.networks import level_channels
from fishnet_mmdet.lab.compare.results import read_results, result_of
from fishnet_mmdet.lab.compare.runs import ExperimentRun, best_rate, ordered
from fishnet_mmdet.lab.compare.tables import all_tables, mean_and_deviation

NUCLEI = CONFIGS / 'experiments' / 'nuclei.py'


@pytest.fixture
def nuclei():
    return read_experiment(NUCLEI)


@pytest.fixture(scope='module')
def small(demo_data, tmp_path_factory):
    return write_small(tmp_path_factory.mktemp('experiment'), demo_data)


class TestExperiment:
    def test_the_shipped_one(self, nuclei):
        assert nuclei.baseline == 'resnet50' and nuclei.rounds[0] == ('fishnet150', 'resnet50')
        assert len(nuclei.seeds) >= 3 and nuclei.tracks['scratch'].pretrain is None
        assert nuclei.tracks['pretrained'].pretrain.name == 'tiny_imagenet_fishnet150.py'

    @pytest.mark.parametrize(
        'old, new, said',
        [
            ("baseline = 'resnet'", "baseline = 'vgg'", "baseline = 'vgg' must be one of fish, resnet"),
            ("[['fish', 'resnet']]", "[['fish']]", 'must name each of the backbones'),
            ('seeds = [3]', 'seeds = []', 'seeds = '),
            ('seeds = [3]', 'seeds = [-1]', 'seeds = '),
            ('seeds = [3]', 'seeds = 3', 'seeds = 3 must be a list'),
            ('held_out = 0.25', 'held_out = None', 'held_out = None must be a number'),
            ('[2e-3]', '2e-3', 'tracks.scratch.rates = 0.002 must be one or several numbers'),
            ('side = 64', 'side = ', 'cannot be read: '),
            ('rate_epochs = 1', 'rate_epochs = 0', 'rate_epochs = 0'),
            ('held_out = 0.25', 'held_out = 1', 'held_out = 1'),
            ('held_out = 0.25', '', "'held_out' is missing"),
            ('pictures = 2', 'picture = 2', "unknown field 'picture'"),
            ('[2e-3]', '[]', 'tracks.scratch.rates'),
            ("'detector.py'", "'detectors.py'", 'there is no'),
            ("config='detector.py'", "configs='detector.py'", "unknown field 'configs'"),
            ('rates=[2e-3]', "rates=[2e-3], options='lr=1'", "tracks.scratch.options = 'lr=1' must be a dict"),
            ('rates=[2e-3]', "rates=[2e-3], options={'randomness.seed': 1}", 'options sets randomness.seed, which'),
        ],
    )
    def test_what_cannot_be_run(self, small, old, new, said):
        path = small.with_name('broken.py')
        path.write_text(SMALL.replace(old, new))
        with pytest.raises(CompareError, match=said.replace('[', r'\[')):
            read_experiment(path)

    def test_a_part_of_it(self, nuclei):
        part = nuclei.only(['fishnet150', 'resnext50'], ['scratch'], [7])
        assert part.rounds == (('fishnet150',), ('resnext50',)) and list(part.tracks) == ['scratch']
        assert part.seeds == (7,) and nuclei.only() == nuclei
        with pytest.raises(CompareError, match='--backbones vgg: nuclei has fishnet150'):
            nuclei.only(['vgg'])
        with pytest.raises(CompareError, match=r'--seeds \[-1\] must be'):
            nuclei.only(seeds=[-1])

    def test_a_backbone_sets_nothing_that_its_track_sets(self, small):
        path = small.with_name('own.py')
        path.write_text(SMALL.replace('depth=18,', 'depth=18, norm_cfg=None,'))
        with pytest.raises(CompareError, match='backbones.resnet sets norm_cfg, which detector.py of track scratch'):
            check_backbones(read_experiment(path))

    @pytest.mark.parametrize(
        'name, channels', [('fishnet150', [320, 832, 1600, 2112]), ('resnext50', [256, 512, 1024, 2048])]
    )
    def test_channels_are_seen_on_the_network(self, nuclei, name, channels):
        assert level_channels(nuclei.backbones[name]) == channels


class TestOrder:
    def test_first_the_two_that_matter(self, nuclei):
        """Rates of both, then seed by seed; the next track; only then the other backbones."""
        done, order = {}, []
        for run in ordered(nuclei, done):
            if run.folder in done:
                continue  # nobody was slower: runs of equal epochs are those of equal time
            order.append(str(run))
            done[run.folder] = result(0.3 + (run.rate == nuclei.tracks[run.track].rates[1]))
        assert order[:3] == [f'scratch/fishnet150/rate-{rate}' for rate in ('0.0001', '0.0003', '0.001')]
        assert order[6:10] == [
            f'scratch/{name}/epochs-seed-{seed}' for seed in (0, 1) for name in ('fishnet150', 'resnet50')
        ]
        assert order[12:14] == ['pretrained/fishnet150/pretrain', 'pretrained/resnet50/pretrain']
        assert order.index('scratch/fishnet99/rate-0.0001') > order.index('pretrained/resnet50/epochs-seed-2')
        assert len(order) == len(set(order)) == 5 * (3 + 3) * 2 + 5

    def test_each_takes_its_own_best_rate(self, nuclei):
        done = {}
        for run in ordered(nuclei.only(tracks=['scratch']), done):
            if run.kind == 'epochs':
                assert run.rate == (1e-3 if run.backbone == 'resnet50' else 1e-4), run
            done[run.folder] = result(0.5 if (run.rate == 1e-3) == (run.backbone == 'resnet50') else 0.1)

    def test_a_rate_that_fails_is_not_chosen_and_all_that_fail_are_none(self, nuclei):
        track = nuclei.tracks['scratch']
        done = {
            ExperimentRun(track='scratch', backbone='resnet50', kind='rate', rate=rate).folder: dict(failed='nan')
            for rate in track.rates
        }
        assert best_rate(track, 'scratch', 'resnet50', done) is None
        first = next(iter(done))
        done[first] = result(0.0)
        assert best_rate(track, 'scratch', 'resnet50', done) == track.rates[0]
        del done[first]
        assert best_rate(track, 'scratch', 'resnet50', done) is None  # not all were tried

    def test_equal_time(self, nuclei):
        """Who is twice as fast trains twice as long; the slowest one's runs stand for both readings."""
        part, done = nuclei.only(['fishnet150', 'resnet50'], ['scratch']), {}
        longer = []
        for run in ordered(part, done):
            if run.kind == 'time':
                longer.append((run.backbone, run.epochs, run.seed))
            done[run.folder] = result(
                0.3 + (run.kind == 'time') / 10,
                seconds=200.0 if run.backbone == 'fishnet150' else 100.0,
                epochs=run.epochs or 12,
            )
        assert longer == [('resnet50', 24, seed) for seed in (0, 1, 2)]
        ap = all_tables(part, done, 'here')[0]
        figures = {(row[1].split()[1], row[2]): row[3:5] + (row[6],) for row in ap.rows}
        assert figures['device', 'fishnet150'] == figures['epochs', 'fishnet150'] == ('3 of 3', '12', '30.0 ± 0.0')
        assert figures['device', 'resnet50'] == ('3 of 3', '24', '40.0 ± 0.0')

    def test_runs_of_some_kinds_alone(self, nuclei):
        """Variants are tried on the held-out images, without a look at val."""
        done = {}
        for run in ordered(nuclei, done, ('pretrain', 'rate')):
            assert run.kind in ('pretrain', 'rate')
            done[run.folder] = result(0.3)
        assert len(done) == 5 * 3 * 2 + 5

    def test_equal_time_waits_for_equal_epochs(self, nuclei):
        """How long it is, is not known before; and pretraining was not asked for."""
        done = {}
        for run in ordered(nuclei, done, ('rate',)):
            assert run.kind == 'rate' and run.track == 'scratch'
            done[run.folder] = result(0.3)
        assert len(done) == 5 * 3 and list(ordered(nuclei, done, ('time',))) == []
        part = nuclei.only(['fishnet150', 'resnet50'], ['scratch'])
        for run in ordered(part, done, ('epochs',)):
            done[run.folder] = result(0.3, seconds=200.0 + 10 * run.seed if run.backbone == 'fishnet150' else 100.0)
        longer = list(ordered(part, done, ('time',)))
        assert [(run.backbone, run.kind, run.epochs) for run in longer] == [('resnet50', 'time', 25)] * 3

    def test_a_detector_without_masks_is_judged_by_its_boxes(self, nuclei, tmp_path):
        part, done = nuclei.only(['fishnet150', 'resnet50'], ['scratch']), {}
        for run in ordered(part, done):
            done[run.folder] = {key: value for key, value in result(0.3).items() if not key.startswith('segm')}
        ap, differences, _, rates, failures = all_tables(part, done, 'here')
        rows = {(row[2], row[5]): row[6] for row in ap.rows if row[1] == 'equal epochs'}
        assert rows['fishnet150', 'bbox'] == '30.0 ± 0.0' and rows['fishnet150', 'segm'] is None
        assert differences.rows[0][3:] == ('3', None, '0.0 ± 0.0')
        assert rates.rows[0][3:] == ('30.0', 'yes') and not failures.rows
        assert draw_curves(part, done, tmp_path / 'curves.png')

    def test_without_pretraining_nothing_follows(self, nuclei):
        done = {}
        part = nuclei.only(['resnet50'], ['pretrained'])
        runs = []
        for run in islice(ordered(part, done), 10):
            runs.append(run.kind)
            done[run.folder] = dict(failed='disk full')
        assert runs == ['pretrain']


class TestReport:
    def test_mean_and_spread(self):
        values = [0.30, 0.32, 0.37]
        assert mean_and_deviation(values) == f'{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}'
        assert mean_and_deviation([0.5]) == '50.0' and mean_and_deviation([]) is mean_and_deviation([None]) is None

    def test_missing_cells_and_failures_stay_visible(self, nuclei, tmp_path):
        runs = {
            (b, s): ExperimentRun(track='scratch', backbone=b, kind='epochs', seed=s).folder
            for b in ('fishnet150', 'resnet50')
            for s in (0, 1, 2)
        }
        done = {folder: result(0.3 + 0.01 * s + 0.02 * (b == 'fishnet150')) for (b, s), folder in runs.items()}
        done[runs['fishnet150', 2]] = dict(failed='RuntimeError: non-finite loss')
        ap, differences, cost, rates, failures = all_tables(nuclei, done, 'here')
        assert len(ap.rows) == 5 * 2 * 2 * 2
        by = {row[:3] + (row[5],): row for row in ap.rows}
        fish = by['scratch', 'equal epochs', 'fishnet150', 'segm']
        assert fish[3] == '2 of 3' and fish[6] == mean_and_deviation([0.32, 0.33])
        assert by['pretrained', 'equal epochs', 'fishnet150', 'segm'][6] is None
        # Paired by seed: the failed one's partner does not count either.
        assert differences.rows[0] == ('scratch', 'equal epochs', 'fishnet150', '2', '2.0 ± 0.0', '2.0 ± 0.0')
        assert failures.rows == [('scratch/fishnet150/epochs-seed-2', 'RuntimeError: non-finite loss')]
        costs = {row[0]: row for row in cost.rows if row[3] == 'scratch'}
        assert costs['resnet50'][1] == pytest.approx(23.5, abs=0.1) and costs['fishnet99'][4] is None
        assert len(rates.rows) == 2 * 5 * 3 and rates.rows[0][3] is None
        assert '| - |' in ap.markdown()
        assert draw_curves(nuclei, done, tmp_path / 'curves.png') and (tmp_path / 'curves.png').stat().st_size
        assert not draw_curves(nuclei, {}, tmp_path / 'none.png')


@pytest.mark.parametrize('nothing', ['NaN', '-1'])
def test_a_size_without_objects_has_no_figure(tmp_path, nothing):
    """NaN in the log of our metric, -1 in that of mmdet's."""
    log = tmp_path / '1' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    figures = ', '.join(f'"coco/segm_{key}": 0.5' for key in ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m'))
    log.write_text(f'{{"loss": 2.0, "time": 0.5, "step": 4}}\n{{{figures}, "coco/segm_mAP_l": {nothing}, "step": 1}}\n')
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    (tmp_path / 'config.py').write_text('train_cfg = dict(max_epochs=1)\n')
    found = result_of(tmp_path / 'config.py', tmp_path)
    assert found['segm']['AP_L'] is None and found['segm']['AP'] == found['segm_curve'][1]['AP_M'] == 0.5


class TestRunsOfEarlierCalls:
    FOLDER = Path('scratch/fish/rate-0.001')

    def test_a_config_of_another_place_and_of_an_earlier_version(self, tmp_path):
        old = dict(work_dir=f'/there/{self.FOLDER}', ann_file='/there/split/train.json', lr=0.1, x=[1, '/other'])
        new = {**old, 'work_dir': f'{tmp_path}/{self.FOLDER}', 'ann_file': f'{tmp_path}/split/train.json'}
        new['held_out'] = dict(sha256='1')
        config, result_file = tmp_path / 'configs' / f'{self.FOLDER}.py', tmp_path / self.FOLDER / 'result.json'
        for path, text in ((config, Config(old).pretty_text), (result_file, '{}')):
            path.parent.mkdir(parents=True)
            path.write_text(text)
        prepare(Config(new), tmp_path, self.FOLDER)
        assert config.read_text() == Config(new).pretty_text
        with pytest.raises(CompareError, match='lr was 0.1 and is 0.2'):
            prepare(Config({**new, 'lr': 0.2}), tmp_path, self.FOLDER)
        with pytest.raises(CompareError, match='held_out.sha256'):
            prepare(Config({**new, 'held_out': dict(sha256='2')}), tmp_path, self.FOLDER)

    def test_a_checkpoint_that_was_moved_with_its_folder(self, tmp_path):
        folder = tmp_path / self.FOLDER
        folder.mkdir(parents=True)
        (folder / 'epoch_1.pth').touch()
        for written in (f'/there/{self.FOLDER}/epoch_1.pth', f'{self.FOLDER}/epoch_1.pth'):
            (folder / 'result.json').write_text(json.dumps(dict(checkpoint=written)))
            assert read_results(tmp_path)[self.FOLDER]['checkpoint'] == str(folder / 'epoch_1.pth')

    def test_only_a_run_that_is_killed_at_the_same_place_has_failed(self, tmp_path):
        def log(step):
            file = tmp_path / '1' / 'vis_data' / 'scalars.json'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(dict(loss=1.0, step=step, epoch=1)) + '\n')

        killed = []
        for step in (5, 9, 9):
            log(step)
            killed.append(execute._is_killed_again(tmp_path))
        assert killed == [False, False, True]
