"""The tools that time the sharing of cores and the start of a run."""

import json
import os
import subprocess
import sys

import pytest
from conftest import CONFIGS, REPO, demo_options

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.lab import busy
from fishnet_mmdet.lab.generated import write_between
from fishnet_mmdet.lab.startup import __main__ as startup


class TestPage:
    def test_only_the_text_between_the_markers_changes(self, tmp_path):
        page = tmp_path / 'page.md'
        page.write_text('a\n<!-- busy -->\nold\n\n<!-- /busy -->\nz\n')
        write_between(page, 'busy', '| \\1 |\n')
        assert page.read_text() == 'a\n<!-- busy -->\n| \\1 |\n<!-- /busy -->\nz\n'
        with pytest.raises(UserError, match='<!-- startup -->'):
            write_between(page, 'startup', '')
        with pytest.raises(UserError, match='cannot be read'):
            write_between(tmp_path / 'none.md', 'busy', '')

    @pytest.mark.parametrize('tool', ['busy', 'startup'])
    def test_a_page_without_the_markers_is_reported_before_the_work(self, tool, tmp_path, monkeypatch):
        page = tmp_path / 'page.md'
        page.write_text('no markers\n')
        module, arguments = (busy, []) if tool == 'busy' else (startup, ['train', 'mask_rcnn_fishnet_demo'])
        monkeypatch.setattr(subprocess, 'run', None)  # nothing is started
        monkeypatch.setattr(sys, 'argv', [tool, *arguments, '--page', str(page)])
        with pytest.raises(SystemExit, match=f'<!-- {tool} -->'):
            module.main()

    def test_the_documentation_has_the_markers(self, tmp_path):
        page = tmp_path / 'page.md'
        page.write_text((REPO / 'docs' / 'benchmark.md').read_text())
        for name in ('busy', 'startup'):
            write_between(page, name, 'new\n')
        assert page.read_text().count('\nnew\n') == 2


class TestBusy:
    def test_times_alone_and_beside_a_process_that_is_gone_afterwards(self, monkeypatch):
        started, popen = [], subprocess.Popen

        def start(*args, **kwargs):
            started.append(popen(*args, **kwargs))
            return started[-1]

        monkeypatch.setattr(busy.subprocess, 'Popen', start)
        times = busy.time_here('fishnet99', 32, 2, 1)
        assert {name: len(values) for name, values in times.items()} == dict(alone=2, busy=2)
        assert all(value > 0 for values in times.values() for value in values)
        assert [process.poll() for process in started] == [-9]

    def test_each_spin_count_has_its_environment(self, monkeypatch):
        """In turns, in processes that are not started with -m."""
        seen = []

        def run(command, env, **_):
            seen.append((command[1], env.get('GOMP_SPINCOUNT'), env.get('OMP_WAIT_POLICY')))
            return subprocess.CompletedProcess(command, 0, '{"alone": [1.0], "busy": [3.0]}\n')

        monkeypatch.setattr(busy.subprocess, 'run', run)
        monkeypatch.setenv('GOMP_SPINCOUNT', '5')
        monkeypatch.setenv('OMP_WAIT_POLICY', 'ACTIVE')
        times = busy.time_in_turns(['default', '10000'], 2, 'fishnet99', 32, 1, 1)
        assert seen == [('-c', None, None), ('-c', '10000', None)] * 2
        assert times['default'] == dict(alone=[1.0, 1.0], busy=[3.0, 3.0])
        grid = busy.table(times, 'fishnet99', 32, 1).markdown_grid()
        assert '| default | 1 | 3 |' in grid and '| 10000 (what commands set) | 1 | 3 |' in grid


class TestStartup:
    def test_the_least_of_each_part_and_their_sum(self):
        starts = [dict(a=[1.0, 0.5], b=[3.0, 0.25]), dict(a=[2.0, 0.25], b=[2.0, 0.5])]
        least = startup.fastest(starts)
        assert least == dict(a=[1.0, 0.25], b=[2.0, 0.25])
        rows = startup.table(dict(before=starts[1], now=least), 'x', 2).rows
        assert rows[-1] == ['together', 4.0, 0.75, 3.0, 0.5]

    def test_a_command_that_fails_is_named(self, tmp_path):
        (tmp_path / 'fishnet_mmdet').mkdir()
        (tmp_path / 'fishnet_mmdet' / '__init__.py').write_text('raise ImportError("no torch here")')
        with pytest.raises(UserError, match='train x.py in .* failed:(?s:.*)no torch here'):
            startup.start_once(tmp_path, ['train', 'x.py'])

    @pytest.mark.long
    def test_a_real_start(self, demo_data, tmp_path):
        config = str(CONFIGS / 'mask_rcnn_fishnet_demo.py')
        arguments = ['--rounds', '1', '--against', str(REPO), '--cfg-options', *demo_options(demo_data)]
        command = [sys.executable, '-m', 'fishnet_mmdet.lab.startup', 'train', config, *arguments]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, env={**os.environ}, timeout=300)
        assert done.returncode == 0, done.stderr
        parts = [line.split(' | ')[0] for line in done.stdout.splitlines() if line.startswith('| ')]
        assert {'| preflight', '| first batch', '| together'} <= set(parts), json.dumps(parts)
