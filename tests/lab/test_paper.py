"""The tables of the paper: our counts against what is known, own runs beside what is published, the figure, errors."""

import json
import re

import mmengine
import numpy as np
import pytest
from conftest import REPO
from matplotlib.image import imread
from seeded import NARROW

from fishnet_mmdet.base.tables import Column, Table, write_tables
from fishnet_mmdet.evaluation.published import (
    DOWN_SAMPLING,
    FIGURE_4,
    OTHER_ABLATIONS,
    PAPER_ERRORS,
    RELEASED_ERRORS,
    RELEASED_PARAMETERS,
)
from fishnet_mmdet.lab.counting import count_model
from fishnet_mmdet.lab.paper import figure4
from fishnet_mmdet.lab.paper import tables as paper
from fishnet_mmdet.lab.paper.network_page import NETWORK_TABLES
from fishnet_mmdet.lab.paper.own_runs import TablesError, read_runs
from fishnet_mmdet.lab.paper.readme import results_markdown, variants_markdown
from fishnet_mmdet.network.arch import ARCHS, PUBLISHED, FishNetArch
from fishnet_mmdet.weights.catalogue import CATALOGUE

NO_RUNS = {'ap': [], 'accuracy': []}


def records(table):
    return json.loads(table.json())['rows']


def markdown_cells(text):
    """Rows of a Markdown table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith('| ')]
    return [line.strip('| ').split(' | ') for line in lines[2:]]


def write_run(folder, table, entries, **more):
    folder.mkdir(parents=True, exist_ok=True)
    record = {'title': 'a run', 'measured': entries, 'published': [], **more}
    (folder / f'{table}.json').write_text(json.dumps(record))
    return folder


def entry(label, kind, **figures):
    return {'label': label, 'type': kind, **figures}


@pytest.fixture
def detector(tmp_path):
    segm = dict(AP=0.3141, AP50=0.5, AP75=0.3, AP_S=None, AP_M=0.2, AP_L=0.4)
    entries = [
        entry('epoch 1', 'bbox', AP=0.001),
        entry('epoch 1', 'segm', AP=0.002),
        entry('epoch 2', 'bbox', AP=0.2718, AP_S=0.1, AP_M=0.2, AP_L=0.3),
        entry('epoch 2', 'segm', **segm),
    ]
    return write_run(tmp_path / 'my_detector', 'ap_val', entries)


@pytest.fixture
def classifier(tmp_path):
    entries = [
        entry('epoch 1', '', **{'top-1': 0.1, 'top-5': 0.3}),
        entry('epoch 2', '', **{'top-1': 0.7814}),
    ]
    return write_run(tmp_path / 'my_classifier', 'accuracy_val', entries)


class TestVariants:
    @pytest.mark.parametrize('name', PUBLISHED)
    def test_counts_are_the_known_ones(self, name):
        counts = count_model(name)
        assert counts.parameters == PUBLISHED[name].parameters
        assert counts.convolutions == PUBLISHED[name].convolutions
        assert round(counts.gmacs, 3) == PUBLISHED[name].conv_gmacs

    def test_a_row_for_every_name(self):
        rows = records(paper.variants_table())
        assert [row['arch'].split()[0] for row in rows] == list(ARCHS)
        assert all(row['parameters, counted'] > 0 for row in rows)

    def test_a_new_name_has_counts_and_no_published_figures(self, monkeypatch):
        monkeypatch.setitem(ARCHS, 'fishnew', NARROW)
        row = records(paper.variants_table())[-1]
        assert row['arch'] == 'fishnew'
        assert 0 < row['parameters, counted'] < 1e6
        assert [row[c] for c in row if c.startswith(('released', 'paper'))] == [None] * 3

    def test_a_reconstruction_says_so(self, monkeypatch):
        monkeypatch.setitem(ARCHS, 'fishnext229', NARROW)
        row = next(row for row in records(paper.variants_table()) if row['arch'].startswith('fishnext229'))
        assert 'reconstruction' in row['arch']

    def test_what_was_released_fits_the_counts(self):
        for name, millions in RELEASED_PARAMETERS.items():
            assert count_model(name).parameters / 1e6 == pytest.approx(millions, abs=0.01)

    def test_released_errors_are_those_of_the_catalogue(self):
        errors = {row.model: row.error for row in RELEASED_ERRORS}
        known = [w for w in CATALOGUE.values() if w.schedule == '100 epochs, step']
        assert len(known) == 2
        assert all(errors[w.arch] == pytest.approx(100 - w.top1) for w in known)


class TestPublished:
    def test_every_published_figure_is_labelled(self):
        for table in paper.all_tables(NO_RUNS):
            rows = records(table)
            assert rows
            if 'source' in rows[0]:
                assert all('not measured here' in row['source'] for row in rows), table.name
            else:
                assert 'not measured here' in ' '.join(table.notes), table.name

    def test_the_papers_figures(self):
        errors = {row['network']: row['top-1 error, %'] for row in records(paper.imagenet_table([]))[:5]}
        assert list(errors.values()) == [23.78, 22.30, 21.93, 22.2, 21.5]
        down = {row['down-sampling']: row['top-1 error, %'] for row in records(paper.down_sampling_table())}
        assert list(down.values()) == [21.93, 22.51, 22.86, 22.75]

    @pytest.mark.parametrize('row', [r for r in PAPER_ERRORS if r.model != 'fishnet150'], ids=lambda r: r.network)
    def test_the_papers_parameters_are_nearly_ours(self, row):
        if row.model not in ARCHS and row.family == 'FishNeXt':
            pytest.skip(f'{row.model} is not in ARCHS')
        assert count_model(row.model).parameters / 1e6 == pytest.approx(row.parameters, rel=0.02)

    @pytest.mark.parametrize('row', [*DOWN_SAMPLING, *OTHER_ABLATIONS], ids=lambda row: row.choice)
    def test_an_ablation_is_counted_as_soon_as_an_architecture_has_its_field(self, row):
        has_field = set(row.options) <= set(FishNetArch.__dataclass_fields__)
        assert (count_model('fishnet150', tuple(row.options.items())) is not None) == has_field


class TestRuns:
    def test_own_runs_stand_beside_the_papers(self, detector, classifier):
        runs = read_runs([detector, classifier])
        box, mask = records(paper.coco_table(runs['ap']))[-2:]
        assert (box['backbone or run'], box['type']) == ('my_detector', 'bbox')
        assert box['AP'] == pytest.approx(27.18)
        assert (mask['type'], mask['AP_S']) == ('segm', None)
        assert 'epoch 2' in mask['source'] and 'not measured' not in mask['source']
        own = records(paper.imagenet_table(runs['accuracy']))[-1]
        assert own['network'] == 'my_classifier'
        assert own['top-1 error, %'] == pytest.approx(21.86)

    def test_a_test_counts_before_a_validation(self, detector):
        write_run(detector, 'ap_test', [entry('this model', 'bbox', AP=0.1), entry('this model', 'bbox', AP=0.5)])
        (run,) = read_runs([detector])['ap']
        assert run.source == 'ap_test.json, this model'
        assert [row['AP'] for row in run.rows] == [0.5]

    @pytest.mark.parametrize('data, remark', [(None, ', other data than the published rows'), ('COCO val2017', '')])
    def test_a_run_on_other_data_says_so(self, tmp_path, data, remark):
        (run,) = read_runs([write_run(tmp_path, 'ap_val', [entry('epoch 2', 'bbox', AP=0.1)], data=data)])['ap']
        assert run.source == f'ap_val.json, epoch 2{remark}'

    def test_folders_of_one_name_are_distinguished(self, tmp_path):
        dirs = [write_run(tmp_path / n / 'run', 'ap_test', [entry('m', 'bbox', AP=0.1)]) for n in 'ab']
        assert [run.label for run in read_runs(dirs)['ap']] == [str(d) for d in dirs]

    @pytest.mark.parametrize(
        'content', ['', '{}', '[]', '{"measured": []}', '{"measured": [1]}', '{"measured": [{"label": "x"}]}',
                    '{"measured": [{"label": "x", "type": "bbox", "AP": "high"}]}'],
    )  # fmt: skip
    def test_a_broken_table_is_named(self, tmp_path, content):
        (tmp_path / 'ap_test.json').write_text(content)
        with pytest.raises(TablesError, match=r'ap_test\.json.*test again') as error:
            read_runs([tmp_path])
        assert str(tmp_path) in str(error.value) and '\n' not in str(error.value)


def test_markdown_and_json_agree(detector, classifier, tmp_path):
    out = tmp_path / 'new' / 'folder'
    tables = paper.all_tables(read_runs([detector, classifier]), ['fishnet99'])
    write_tables(tables, out)
    assert len({table.name for table in tables}) == len(tables) == 7
    for table in tables:
        rows = json.loads((out / f'{table.name}.json').read_text())['rows']
        cells = markdown_cells((out / f'{table.name}.md').read_text())
        assert len(cells) == len(rows)
        for row, texts in zip(rows, cells, strict=True):
            for value, text in zip(row.values(), texts, strict=True):
                if isinstance(value, int | float):
                    assert float(text.replace(',', '')) == pytest.approx(value, abs=0.051)
                else:
                    assert text.strip() == ('-' if value is None else value)


def test_a_bar_does_not_break_markdown():
    table = Table(name='t', title='t', columns=[Column('a'), Column('b', '.1f')], rows=[('x|y', 1.25)])
    assert markdown_cells(table.markdown()) == [['x/y', '1.2']]


class TestFigure4:
    def test_every_network_but_the_unbuilt_is_drawn(self):
        drawn = {dot.row.network for dot in figure4.dots()}
        missing = {row for row in FIGURE_4 if row.network not in drawn}
        assert all(row.family == 'FishNeXt' and row.model not in ARCHS for row in missing)
        assert {dot.row.family for dot in figure4.dots()} >= {'FishNet', 'ResNet', 'DenseNet', 'ResNeXt'}
        assert all(row.source and row.family in figure4.STYLES for row in FIGURE_4)

    def test_the_files(self, tmp_path):
        png, svg = figure4.draw_figure4(tmp_path / 'out')
        picture = imread(png)
        assert picture.shape[1] >= 1000 and len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 50
        first = svg.read_bytes()
        assert b'<svg' in first
        assert figure4.draw_figure4(tmp_path / 'again')[1].read_bytes() == first


class TestReadme:
    def test_a_row_for_every_variant_with_the_known_counts(self):
        rows = {row[0].split('`')[1]: row[1:] for row in markdown_cells(variants_markdown())}
        assert list(rows) == list(ARCHS)
        for name, known in PUBLISHED.items():
            assert rows[name] == [f'{known.parameters:,}', str(known.convolutions), f'{known.conv_gmacs:.3f}']
        assert rows['fishnext150'] == ['25,738,024', '151', '6.469']

    def test_the_papers_ap_says_whose_it_is(self):
        rows = {row[0]: row[1:] for row in markdown_cells(results_markdown())}
        assert rows['FishNet-150'] == ['37.0 / 19.8 / 40.2 / 50.3', '41.5 / 24.1 / 44.9 / 55.0',
                                       '40.6 / 23.3 / 43.9 / 53.7']  # fmt: skip
        assert list(rows) == ['ResNet-50', 'ResNeXt-50 32x4d', 'FishNet-150']
        assert 'figures of the paper' in results_markdown()


class TestTool:
    TOOL = 'tools/paper_tables.py'

    def test_prints_and_writes(self, monkeypatch, call_tool, tmp_path, detector):
        monkeypatch.setenv('COLUMNS', '80')
        printed = call_tool(self.TOOL, '--work-dirs', detector, '--parts', '150', '--out', tmp_path / 'out').stdout
        assert 'my_detector' in printed and '24,959,400' in printed and 'Table 2' in printed
        assert '…' not in printed  # nothing is cut, however narrow the terminal
        names = {path.name for path in (tmp_path / 'out').iterdir()}
        assert {'figure4.png', 'figure4.svg', 'parts_fishnet150.md', 'table3_coco.json'} <= names

    def test_the_metafile_is_that_of_the_tree(self, call_tool):
        """If this fails, write what --metafile prints to configs/metafile.yml."""
        text = (REPO / 'configs' / 'metafile.yml').read_text()
        assert call_tool(self.TOOL, '--metafile').stdout == text
        assert (REPO / 'model-index.yml').read_text() == 'Import:\n- configs/metafile.yml\n'
        content = mmengine.load(REPO / 'configs' / 'metafile.yml')
        assert all((REPO / model['Config']).is_file() for model in content['Models'])
        metrics = [name for model in content['Models'] for row in model.get('Results', ()) for name in row['Metrics']]
        assert len(metrics) > 10 and all('not measured here' in name for name in metrics)

    def test_the_tables_of_the_network_page_alone(self, call_tool):
        shown = call_tool(self.TOOL, '--network').stdout
        assert shown == '\n'.join(markdown() for markdown in NETWORK_TABLES.values())

    def test_the_tables_of_the_readme_alone(self, call_tool):
        assert call_tool(self.TOOL, '--readme').stdout == f'{variants_markdown()}\n{results_markdown()}'

    @pytest.mark.parametrize(
        'flags, named',
        [
            (['--parts', 'fishnet1'], r"--parts fishnet1: .*allowed: fishnet99"),
            (['--work-dirs', '{tmp}/none'], r'--work-dirs \S+/none: no such folder'),
            (['--work-dirs', '{tmp}/empty'], r'--work-dirs \S+/empty: it has none of ap_test\.json.*train or test'),
            (['--out', '{tmp}/file'], r'--out \S+/file: .*is a file; give a folder'),
            (['--out', '{tmp}/file/below'], r'--out \S+/file/below: .*is a file; give a folder'),
        ],
    )  # fmt: skip
    def test_an_error_is_one_line_before_any_work(self, monkeypatch, call_tool, tmp_path, flags, named):
        (tmp_path / 'empty').mkdir()
        (tmp_path / 'file').write_text('')
        monkeypatch.setattr(paper, 'all_tables', lambda *_: pytest.fail('it began to work'))
        done = call_tool(self.TOOL, *(flag.format(tmp=tmp_path) for flag in flags))
        assert done.returncode == 1 and re.match(f'error: {named}', done.stderr) and done.stderr.count('\n') == 1
