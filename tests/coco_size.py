"""An annotation file of COCO train2017's size, and what checking it costs: coco_size.py FILE writes it and measures.

It has as many images, annotations, polygon corners and crowds. The shapes are circles with a wavy outline, and there
are no image files. Everything follows from the seed.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

IMAGES, ANNOTATIONS, CATEGORIES = 118_287, 860_001, 80
CROWD_ODDS = 0.012
WIDTH, HEIGHT = 640, 480

MEASURE = """
import resource, sys, time
from pathlib import Path
from fishnet_mmdet.preflight.annotations import read_annotations
from fishnet_mmdet.preflight.contents import Use
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start, cpu = time.perf_counter(), time.process_time()
contents = read_annotations(Path(sys.argv[1]), "train", Use(evaluated=True, stock_metric=True))
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(contents.images), len(contents.objects.category_ids), len(contents.findings), seconds, cpu, before, peak)
"""


def write(path: Path, images: int = IMAGES, annotations: int = ANNOTATIONS, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    with path.open('w') as file:
        rows = [
            dict(license=3, file_name=f'{i:012}.jpg', coco_url=f'http://images.cocodataset.org/train2017/{i:012}.jpg',
                 height=HEIGHT, width=WIDTH, date_captured='2013-11-14 11:18:45',
                 flickr_url=f'http://farm9.staticflickr.com/{i % 8191}/{i:010}_z.jpg', id=i)
            for i in range(1, images + 1)
        ]  # fmt: skip
        head = {'info': {'description': 'drawn'}, 'licenses': [], 'images': rows}
        head['categories'] = [{'id': i, 'name': f'class {i}'} for i in range(1, CATEGORIES + 1)]
        file.write(json.dumps(head)[:-1] + ', "annotations": [')
        of_images = np.sort(rng.integers(1, images + 1, annotations))
        for number, image in enumerate(of_images.tolist(), start=1):
            row = crowd(rng) if rng.random() < CROWD_ODDS else polygon(rng)
            row.update(image_id=image, category_id=int(rng.integers(1, CATEGORIES + 1)), id=number)
            file.write((', ' if number > 1 else '') + json.dumps(row))
        file.write(']}')


def polygon(rng: np.random.Generator) -> dict:
    parts = []
    for _ in range(1 + (rng.random() < 0.1)):
        corners = 4 + int(rng.exponential(17))  # 41 numbers on average, as in COCO
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(4, 90) * rng.uniform(0.8, 1, corners)
        centre = rng.uniform((95, 95), (WIDTH - 95, HEIGHT - 95))
        points = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        parts.append(points.round(2))
    low, high = np.concatenate(parts).min(0), np.concatenate(parts).max(0)
    box = [*low, *np.maximum(high - low, 1)]
    return {
        'segmentation': [part.ravel().tolist() for part in parts],
        'area': round(box[2] * box[3] * 0.7, 4),
        'iscrowd': 0,
        'bbox': [round(v, 2) for v in box],
    }


def crowd(rng: np.random.Generator) -> dict:
    ends = np.sort(rng.choice(WIDTH * HEIGHT, 301, replace=False))
    counts = np.diff(ends, prepend=0, append=WIDTH * HEIGHT).tolist()
    area = sum(counts[1::2])
    return {'segmentation': {'counts': counts, 'size': [HEIGHT, WIDTH]}, 'area': area, 'iscrowd': 1,
            'bbox': [0, 0, WIDTH, HEIGHT]}  # fmt: skip


def measure(path: Path) -> dict[str, float]:
    """Checks a file in a process of its own: counts, seconds, and GiB at its peak and before."""
    done = subprocess.run([sys.executable, '-c', MEASURE, str(path)], capture_output=True, text=True, check=True)
    images, annotations, findings, seconds, cpu, before, peak = map(float, done.stdout.split())
    return dict(
        images=images, annotations=annotations, findings=findings, seconds=seconds, cpu_seconds=cpu,
        gib=peak / 2**20, gib_before=before / 2**20,
    )  # fmt: skip


if __name__ == '__main__':
    target = Path(sys.argv[1])
    start = time.perf_counter()
    if not target.exists():
        write(target)
    print(f'{target}: {target.stat().st_size / 1e6:.0f} MB, written in {time.perf_counter() - start:.0f} s')
    print(json.dumps(measure(target), indent=1))
