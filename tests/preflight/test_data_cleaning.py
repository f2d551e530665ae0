"""Training on the valid rest of bad data, the cache of images, the tools, and the time that checks take."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from coco_size import ANNOTATIONS, IMAGES, measure, write
from conftest import REPO, demo_options
from file_defects import category_id_twice
from in_process import run_here
from mmdet.utils import register_all_modules
from PIL import Image

from fishnet_mmdet.preflight import PreflightError, check, examine
from fishnet_mmdet.preflight.annotations import read_annotations
from fishnet_mmdet.preflight.contents import Use
from fishnet_mmdet.preflight.image_cache import ImageCache, cache_folder
from fishnet_mmdet.preflight.images import inspect_images

register_all_modules(init_default_scope=True)


def spoil_some(case):
    """Three defects that can be left out: an image, an annotation of another, and a malformed entry."""
    image = case.images[2]
    case.path(image).unlink()
    row = case.annotation(polygon=True, image=case.images[5]['id'])
    row['bbox'][2] = -4.0
    case.images.append({'id': [1]})
    return image, row


class TestSkipBad:
    def test_only_what_is_bad_is_left_out(self, make_case):
        case = make_case()
        image, row = spoil_some(case)
        case.write()
        before = (case.root / 'annotations/instances_train.json').read_bytes()
        report = check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        assert not report.findings and 'left out 3 entries' in report.text()
        cleaned = json.loads(Path(case.loader().ann_file).read_text())
        assert cleaned['images'] == [i for i in case.images[:8] if i != image]
        assert cleaned['annotations'] == [a for a in case.annotations if a is not row and a['image_id'] != image['id']]
        listed = (Path(case.cfg.work_dir) / 'preflight/dropped.txt').read_text().splitlines()
        assert [line.split('\t')[0] for line in listed] == [
            'entry-malformed',
            'box-negative',
            'image-missing',
        ]
        assert f'annotation {row["id"]} of image {row["image_id"]}' in listed[1]
        assert (case.root / 'annotations/instances_train.json').read_bytes() == before
        assert case.loader('val').ann_file == 'annotations/instances_val.json'

    def test_a_second_run_is_the_same(self, make_case):
        case = make_case()
        spoil_some(case)
        case.write()
        fresh = case.cfg.copy()
        check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        check(fresh, ['train', 'val'], weights=False, skip_bad=True)
        assert fresh.train_dataloader == case.cfg.train_dataloader

    def test_clean_data_stay_whole(self, make_case):
        case = make_case()
        check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        assert json.loads(Path(case.loader().ann_file).read_text()) == case.data['train']

    def test_two_files_of_one_folder(self, make_case):
        """The place of a bad entry in one list says nothing of the other."""
        case = make_case()
        parts = []
        for number, chosen in enumerate((case.images[:6], case.images[6:])):
            ids = {image['id'] for image in chosen}
            part = {**case.data['train'], 'images': chosen}
            part['annotations'] = [row for row in case.annotations if row['image_id'] in ids]
            (case.root / f'annotations/part_{number}.json').write_text(json.dumps(part))
            parts.append({**case.loader(), 'ann_file': f'annotations/part_{number}.json'})
        case.cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)
        for place in (1, 4):
            case.path(case.images[place]).unlink()
        check(case.cfg, ['train'], weights=False, skip_bad=True)
        left = [json.loads(Path(part.ann_file).read_text())['images'] for part in case.loader().datasets]
        assert left == [[case.images[place] for place in (0, 2, 3, 5)], case.images[6:]]

    def test_validation_is_never_cut(self, make_case):
        case = make_case(split='val')
        case.path(case.image()).unlink()
        with pytest.raises(PreflightError, match='image-missing.* val'):
            check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        assert not Path(case.cfg.work_dir).exists()

    def test_what_cannot_be_left_out_still_stops(self, make_case):
        case = make_case()
        spoil_some(case)
        category_id_twice(case)
        case.write()
        with pytest.raises(PreflightError, match='category-twice') as error:
            check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        assert 'image-missing' not in str(error.value)

    def test_a_report_offers_it_where_it_solves_every_error(self, make_case):
        case = make_case()
        spoil_some(case)
        case.write()
        report = examine(case.cfg, ['train', 'val'], weights=False)
        *_, skip, use = report.text().splitlines()
        assert report.can_skip and skip == 'To train without the bad entries: fishnet-mmdet train CONFIG --skip-bad'
        assert use.endswith('--cfg-options "preflight.ignore=[entry-malformed,box-negative,image-missing]"')
        category_id_twice(case)
        case.write()
        report = examine(case.cfg, ['train', 'val'], weights=False)
        assert not report.can_skip and '--skip-bad' not in report.text().splitlines()[-2]

    def test_no_way_is_offered_that_ends_at_the_next_error(self, make_case):
        case = make_case()
        spoil_some(case)
        case.write()
        case.cfg.val_dataloader.dataset.ann_file = 'nowhere.json'
        report = examine(case.cfg, ['train', 'val'], weights=False)
        assert 'data-missing' in report.counts and 'box-negative' in report.counts
        assert 'fishnet-mmdet train CONFIG' not in report.text()

    def test_it_is_not_offered_for_validation_data(self, make_case):
        case = make_case(split='val')
        case.path(case.image()).unlink()
        report = examine(case.cfg, ['train', 'val'], weights=False)
        assert report.errors and not report.can_skip and 'To leave' not in report.text()

    def test_nothing_left_stops(self, make_case):
        case = make_case()
        for image in case.images:
            case.path(image).unlink()
        with pytest.raises(PreflightError, match='no-images'):
            check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)


class TestCache:
    NAMES = ('000000.jpg', '000001.jpg', '000002.jpg')

    @pytest.fixture(autouse=True)
    def own_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))

    def test_what_was_seen_is_remembered_until_it_changes(self, make_case, monkeypatch):
        case = make_case()
        folder = case.root / 'train'
        (folder / self.NAMES[2]).write_bytes(b'')
        first = inspect_images(folder, self.NAMES)
        (file,) = cache_folder().iterdir()
        opened = []
        whole = Image.open
        monkeypatch.setattr(
            Image, 'open', lambda path, **kwargs: opened.append(Path(path).name) or whole(path, **kwargs)
        )
        assert inspect_images(folder, self.NAMES) == first and opened == []
        content = (folder / self.NAMES[1]).read_bytes()
        (folder / self.NAMES[1]).write_bytes(content[: len(content) // 2])
        again = inspect_images(folder, self.NAMES)
        assert opened == [self.NAMES[1]]
        assert (again[self.NAMES[1]].problem, again[self.NAMES[2]].problem) == (
            'image-truncated',
            'image-empty',
        )

    @pytest.mark.parametrize('content', [b'', b'{', b'[]', b'{"version": 1, "images": 3}', b'\xff', b'[' * 99_999])
    def test_a_damaged_cache_is_none(self, make_case, content):
        case = make_case()
        first = inspect_images(case.root / 'train', self.NAMES)
        (file,) = cache_folder().iterdir()
        file.write_bytes(content)
        assert inspect_images(case.root / 'train', self.NAMES) == first
        assert json.loads(file.read_text())['images'].keys() == set(self.NAMES)

    def test_a_change_that_keeps_size_and_time_is_seen(self, make_case):
        """As `rsync -t` and `cp -p` leave a file."""
        case = make_case()
        path = case.root / 'train' / self.NAMES[0]
        inspect_images(case.root / 'train', self.NAMES)
        times = path.stat()
        path.write_bytes(bytes(times.st_size))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert inspect_images(case.root / 'train', self.NAMES)[self.NAMES[0]].problem == 'image-broken'

    def test_a_damaged_entry_is_looked_at_again(self, make_case):
        case = make_case()
        first = inspect_images(case.root / 'train', self.NAMES)
        (file,) = cache_folder().iterdir()
        content = json.loads(file.read_text())
        content['images'][self.NAMES[0]] = [1, 'x']
        content['images'][self.NAMES[1]][2] = None
        file.write_text(json.dumps(content))
        assert inspect_images(case.root / 'train', self.NAMES) == first

    def test_two_writers_keep_each_others_images(self, make_case):
        case = make_case()
        inspect_images(case.root / 'train', self.NAMES[:1])
        late = ImageCache(case.root / 'train')
        inspect_images(case.root / 'train', self.NAMES[1:2])
        late.entries.clear()
        late.is_new = True
        late.save()
        assert ImageCache(case.root / 'train').entries.keys() == set(self.NAMES[:2])

    def test_a_folder_that_cannot_be_written_costs_only_time(self, make_case, monkeypatch, tmp_path):
        case = make_case()
        (tmp_path / 'file').write_text('')
        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
        assert not any(look.problem for look in inspect_images(case.root / 'train', self.NAMES).values())


class TestTools:
    def config(self, case):
        path = case.root.parent / 'config.py'
        case.cfg.dump(path)
        return path

    def test_check_data(self, make_case, run_tool, tmp_path):
        case = make_case()
        case.path(case.images[3]).unlink()
        report = tmp_path / 'report.json'
        done = run_tool('tools/check_data.py', self.config(case), '--json', report)
        assert done.returncode == 1 and 'Traceback' not in done.stderr
        assert '[image-missing] train' in done.stdout and 'image 4:' in done.stdout
        (finding,) = json.loads(report.read_text())['findings']
        assert finding['kind'] == 'image-missing' and finding['image'] == 4
        done = run_here('tools/check_data.py', self.config(case), '--no-images', '--skip-bad')
        assert done.returncode == 0 and '0 errors, 0 warnings' in done.stdout
        assert (tmp_path / 'work/preflight/train_0.json').is_file()

    def test_check_data_of_some_splits(self, make_case):
        case = make_case()
        for image in case.images[:3]:
            case.path(image).unlink()
        done = run_here('tools/check_data.py', self.config(case), '--splits', 'val')
        assert done.returncode == 0 and '[image-missing]' not in done.stdout
        done = run_here('tools/check_data.py', self.config(case), '--splits', 'train', '--shown', 1)
        assert done.returncode == 1 and '[image-missing] train' in done.stdout
        assert str(case.path(case.images[0])) in done.stdout and str(case.path(case.images[1])) not in done.stdout

    def test_two_processes_stop_together(self, make_case):
        case = make_case(split='val')
        case.path(case.image()).unlink()
        done = self.torchrun(case)
        assert done.returncode == 1
        assert done.stderr.count('[image-missing] val') == 1
        assert done.stderr.count('Traceback') == 1  # torchrun's own

    @pytest.mark.long
    def test_two_processes_train_on_the_same_rest(self, make_case):
        case = make_case()
        image, _ = spoil_some(case)
        case.write()
        done = self.torchrun(case, '--skip-bad')
        assert done.returncode == 0, done.stderr
        assert 'left out 3 entries' in done.stdout
        assert (Path(case.cfg.work_dir) / 'epoch_1.pth').is_file()

    def torchrun(self, case, *flags):
        options = [*demo_options(case.root), 'train_cfg.max_epochs=1', 'train_cfg.val_interval=9']
        options += [f'val_dataloader.dataset.data_root={case.root}/']
        return subprocess.run(
            [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2',
             str(REPO / 'tools/train.py'), str(self.config(case)), '--launcher', 'pytorch', *flags,
             '--cfg-options', *options],
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip


class TestOfCocoSize:
    """100,000 annotations in a minute on two cores is what was asked for."""

    def test_a_hundredth_of_coco_is_clean(self, tmp_path):
        write(tmp_path / 'coco.json', IMAGES // 100, ANNOTATIONS // 100)
        contents = read_annotations(tmp_path / 'coco.json', 'train', Use(evaluated=True, stock_metric=True))
        assert len(contents.objects.category_ids) == ANNOTATIONS // 100 and not contents.findings

    @pytest.mark.long
    def test_all_of_it_is_checked_in_time(self, tmp_path):
        write(tmp_path / 'coco.json')
        cost = measure(tmp_path / 'coco.json')
        assert (cost['images'], cost['annotations'], cost['findings']) == (IMAGES, ANNOTATIONS, 0)
        assert cost['seconds'] < 60 * ANNOTATIONS / 100_000
        assert cost['gib'] < 8
        print(cost)
