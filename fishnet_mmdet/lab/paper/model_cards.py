"""The model card of the ImageNet weights that have names: docs/model-cards/imagenet.md, printed from the catalogue."""

import torch

from fishnet_mmdet.base.tables import Column, Table
from fishnet_mmdet.lab.counting import count_model
from fishnet_mmdet.network.classifier import FishNetClassifier
from fishnet_mmdet.weights.catalogue import CATALOGUE, NamedWeights
from fishnet_mmdet.weights.namings import FOREIGN

NAMINGS = {naming.name: naming for naming in FOREIGN}

PAGE = """\
# Model card: FishNet on ImageNet-1k

<!-- Printed by: tools/paper_tables.py --model-card -->

Classifiers that others trained on ImageNet-1k and released. A detector or segmentor uses their backbone as pretrained
weights. This project distributes none of these files: it downloads them from their owners, by name.

## The weights

Accuracies on ImageNet val (single crop of 224 x 224) are **those of the owners**, in percent. Nobody has measured them
with this code. Parameters and GMACs are counted on the networks of this project, with the classifier of 1000 classes.

{weights}
## The files

{files}
- **Checksums.** The authors published none. Loading one of their files prints the SHA-256 of what was read: compare it
  with that of somebody you trust. pytorchcv's file is compared with the SHA-1 that its owner published.
- **Keys.** A file must have the tensors of its key naming and no others, with the shapes of the architecture. If not,
  loading stops with a table of what does not fit. `num_batches_tracked` counts as a tensor.
- None of the files could be downloaded here. Keys and shapes are those of the code of their owners; those of the
  well-trained files are from a competition entry that renames them: [weights.md](../weights.md#any-file).

## Licence

{licences}
The licence of this project (Apache 2.0) covers its code, not these weights. The images of ImageNet have terms of their
own, which allow research and education only; what that means for weights is not settled. Ask the owners before a
commercial use.

## Input

| | |
|---|---|
| image | RGB, float32, (batch, 3, height, width) |
| normalisation | mean 123.675, 116.28, 103.53 and standard deviation 58.395, 57.12, 57.375, of values from 0 to 255 |
| in a config | `data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)` |
| size | trained on crops of 224 x 224, tested on the central one of images of 256 pixels; a backbone takes any size |
| output of the backbone | 320, 832, 1600 and 2112 channels at strides 4, 8, 16 and 32 |

## How to load

```python
import torch

from fishnet_mmdet import FishNet

net = FishNet('{arch}', norm_eval=True, init_cfg=dict(type='Pretrained', checkpoint='fishnet://{name}'))
net.init_weights()
levels = net.eval()(torch.zeros(1, 3, 64, 64))
assert [level.shape[1] for level in levels] == [320, 832, 1600, 2112]
```

In a config:

```python
backbone = dict(
    type='FishNet',
    arch='fishnet150',
    frozen_stages=0,
    norm_cfg=dict(type='BN', requires_grad=False),
    norm_eval=True,
    init_cfg=dict(type='Pretrained', checkpoint='fishnet://fishnet150-imagenet'),
)
```

Classifier and backbone, in our key naming and as safetensors: `fishnet-mmdet convert fishnet://NAME FILE.safetensors`.
A machine without a network, and files that you have already: [weights.md](../weights.md#names).

## Uses and limits

- **Meant for** the start of a training: the paper's detectors keep every BN and the stem as they are in the file.
- **1000 classes of photographs** from the web, mostly of single objects in the centre. Images of microscopes or
  satellites are far from them: compare with a training from random weights
  ([getting-started.md](../getting-started.md#from-random-weights)).
- **What is in ImageNet is in the weights**: its errors of annotation, its choice of classes, its uneven picture of
  people and places. Nobody has examined these weights for it here.
- **Not measured here**: accuracy, robustness, calibration, COCO AP after a training from these weights.
"""


def imagenet_card() -> str:
    """The page, with the tables of the catalogue.

    Returns:
        The text of docs/model-cards/imagenet.md.
    """
    name, first = next(iter(CATALOGUE.items()))
    origins = dict.fromkeys(weights.origin for weights in CATALOGUE.values())
    return PAGE.format(
        weights=_weights(),
        files=_files(),
        licences=''.join(f'- {_names(origin)}: {origin}.\n' for origin in origins),
        name=name,
        arch=first.arch,
    )


def tensors(weights: NamedWeights) -> int:
    """Number of tensors that a file of released weights has, its classifier included."""
    absent = NAMINGS[weights.naming].identity_norms
    with torch.device('meta'):
        keys = FishNetClassifier(weights.arch).state_dict()
    return sum(not key.startswith(tuple(f'{path}.' for path in absent)) for key in keys)


def _weights() -> str:
    columns = (
        Column('name'), Column('architecture'), Column('trained by its owner'), Column('top-1'), Column('top-5'),
        Column('parameters', ',d'), Column('GMACs', '.2f'),
    )  # fmt: skip
    rows = []
    for name, weights in CATALOGUE.items():
        counts = count_model(weights.arch)
        top1 = 'not stated' if weights.top1 is None else f'{weights.top1:.2f}'
        figures = (top1, f'{weights.top5:.2f}', counts.parameters, counts.gmacs)
        rows.append((f'`fishnet://{name}`', f'`{weights.arch}`', weights.schedule, *figures))
    return Table(name='weights', title='Weights', columns=columns, rows=rows).markdown_grid()


def _files() -> str:
    columns = (Column('file'), Column('key naming'), Column('tensors', 'd'), Column('checksum'))
    rows = [
        (
            f'[`{weights.file}`]({weights.urls[0]})',
            weights.naming,
            tensors(weights),
            weights.checksum or 'none published',
        )
        for weights in CATALOGUE.values()
    ]
    return Table(name='files', title='Files', columns=columns, rows=rows).markdown_grid()


def _names(origin: str) -> str:
    return ', '.join(f'`{name}`' for name, weights in CATALOGUE.items() if weights.origin == origin)
