"""The report as a page: docs/port-report.md."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

WORDS = {
    ('trained', 'trained'): 'both train',
    ('trained', 'failed'): 'FishNet trains, the ResNet does not',
    ('failed', 'trained'): '**FishNet fails, the ResNet trains**',
    ('failed', 'failed'): 'neither trains here',
    ('refused', 'trained'): 'refused; the ResNet trains',
    ('refused', 'failed'): 'refused; the ResNet does not train here either',
    ('refused', 'refused'): 'cannot be read',
}

METHOD = """\
The latter, with a FishNet-99 of a quarter of the width, was trained for one step on two made-up images of 128 pixels
(384 where these are too small; two frames of a video for trackers; eight images of 256 x 128 pixels for
re-identification), with few proposals. "Trains" means: loss and gradients are finite, and a gradient reaches the
backbone. The ResNet of the config, with random weights, got the same step. Nothing here says how well a ported config
learns.

Some models need packages that this project does not install. These were added: scikit-learn (for PAA and LAD),
scikit-image (BoxInst), motmetrics (SORT and DeepSORT) and fairscale (Grounding DINO, which also needs transformers and
the weights of a language model: those were not added). The step ran on a CPU, so that operators without a CPU version
fail.

Written by these commands; the second goes on where it stopped:

<!-- not run, pip: it installs -->
```sh
pip install scikit-learn scikit-image motmetrics fairscale
python -m fishnet_mmdet.lab.port_report --lines docs/port-report.jsonl --page docs/port-report.md
```

[port-report.jsonl](port-report.jsonl) has one line for each config, with losses, norms of gradients and seconds.
"""


def page(records: Sequence[dict[str, Any]], total: int) -> str:
    """Markdown.

    Args:
        records: What `run` gave.
        total: Number of configs that there are.
    """
    kinds = Counter(_kind(record) for record in records)
    counts = '\n'.join(f'| {kind} | {number} |' for kind, number in kinds.most_common())
    rows = '\n'.join(_row(record) for record in sorted(records, key=_worst_first) if _remarks(record))
    folders = '\n'.join(f'| `{name}` | {clean} | {both} | {tried} |' for name, clean, both, tried in _folders(records))
    return f"""# Port report

`fishnet-mmdet port` on MMDetection's configs with `r50` in their name, and on a sample of MMSegmentation's and
MMPretrain's: {len(records)} of {total} configs were run. Each was ported for pretrained weights and for random ones.
{METHOD}
| outcome | configs |
|---|---|
{counts}

## Configs with a remark

| config | outcome | remark |
|---|---|---|
{rows}

## All configs by folder

"Without a remark": both networks train, and nothing of the config was dropped.

| folder | without a remark | both train | configs run |
|---|---:|---:|---:|
{folders}
"""


def _folders(records: Sequence[dict[str, Any]]) -> list[tuple[str, int, int, int]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in sorted(records, key=lambda r: r['config']):
        groups.setdefault(record['config'].rpartition('/')[0], []).append(record)
    return [
        (
            name,
            sum(not _remarks(record) for record in group),
            sum(_kind(record) == WORDS['trained', 'trained'] for record in group),
            len(group),
        )
        for name, group in groups.items()
    ]


def _kind(record: dict[str, Any]) -> str:
    pair = (record['fishnet']['outcome'], record['resnet']['outcome'])
    return WORDS.get(pair, ', '.join(pair))


def _worst_first(record: dict[str, Any]) -> tuple[bool, str]:
    return _kind(record) == WORDS['trained', 'trained'], record['config']


def _remarks(record: dict[str, Any]) -> list[str]:
    fish, resnet = record['fishnet'], record['resnet']
    remarks = [*fish.get('dropped', []), *([fish['reason']] if 'reason' in fish else [])]
    if 'reason' in resnet and resnet['reason'] not in remarks:
        remarks.append(f'ResNet: {resnet["reason"]}')
    return remarks


def _row(record: dict[str, Any]) -> str:
    remarks = '; '.join(_remarks(record))
    for sign, escaped in (('|', r'\|'), ('<', '&lt;'), ('`', "'"), ('__', r'\_\_')):
        remarks = remarks.replace(sign, escaped)
    return f'| `{record["config"]}` | {_kind(record)} | {remarks} |'
