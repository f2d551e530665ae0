"""The released FishNet weights by name: where they come from and what is known about them.

The authors published no checksums and we could not download their files, so their entries have none. Loading such a
file prints its SHA-256. The one checksum here is a SHA-1 that pytorchcv publishes.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlparse

SCHEME = 'fishnet://'
"""What a name of weights begins with in a config."""

AUTHORS = 'the FishNet authors, github.com/kevin-ssy/FishNet (no licence is stated there)'
PYTORCHCV = 'pytorchcv, github.com/osmr/imgclsmob (MIT)'


@dataclass(frozen=True, kw_only=True)
class NamedWeights:
    """One released set of ImageNet-1k weights.

    Attributes:
        arch: Name of the architecture, a key of `ARCHS`.
        urls: Addresses, tried in order.
        checksum: 'ALGORITHM:DIGITS' of the file (unpacked, if the source is a zip); None if none is published.
        naming: Name of the key naming that the file is expected to have. Loading looks at the keys and adds a note if
            they have another naming.
        schedule: Training schedule.
        top1: Published top-1 accuracy on ImageNet val in percent, single 224 crop; None if none is published.
        top5: Published top-5 accuracy, likewise.
        origin: Owner and licence of the weights.
    """

    arch: str
    urls: tuple[str, ...]
    checksum: str | None
    naming: str
    schedule: str
    top1: float | None
    top5: float
    origin: str

    @property
    def file(self) -> str:
        """Name of the file in the cache, unpacked if the source is a zip."""
        return PurePosixPath(urlparse(self.urls[0]).path.removesuffix('.zip')).name


CATALOGUE: dict[str, NamedWeights] = {
    'fishnet99-imagenet': NamedWeights(
        arch='fishnet99',
        urls=('https://www.dropbox.com/s/hvojbdsad5ue7yb/fishnet99_ckpt.tar?dl=1',),
        checksum=None,
        naming='official',
        schedule='100 epochs, step',
        top1=77.41,
        top5=93.59,
        origin=AUTHORS,
    ),
    'fishnet150-imagenet': NamedWeights(
        arch='fishnet150',
        urls=('https://www.dropbox.com/s/hjadcef18ln3o2v/fishnet150_ckpt.tar?dl=1',),
        checksum=None,
        naming='official',
        schedule='100 epochs, step',
        top1=78.14,
        top5=93.95,
        origin=AUTHORS,
    ),
    'fishnet150-imagenet-cosine': NamedWeights(
        arch='fishnet150',
        urls=('https://www.dropbox.com/s/ajy9p6f97y45f1r/fishnet150_ckpt_welltrained.tar?dl=1',),
        checksum=None,
        naming='official (well-trained 150)',
        schedule='200 epochs, cosine, label smoothing',
        top1=79.35,
        top5=94.75,
        origin=AUTHORS,
    ),
    'fishnet201-imagenet-cosine': NamedWeights(
        arch='fishnet201',
        urls=('https://www.dropbox.com/s/kvz2dmxe3fzn10m/fishnet201_ckpt_welltrain.tar?dl=1',),
        checksum=None,
        naming='official (well-trained 201)',
        schedule='200 epochs, cosine, label smoothing',
        top1=79.71,
        top5=94.79,
        origin=AUTHORS,
    ),
    'fishnet150-imagenet-pytorchcv': NamedWeights(
        arch='fishnet150',
        urls=('https://github.com/osmr/imgclsmob/releases/download/v0.0.502/fishnet150-0475-93e26daa.pth.zip',),
        checksum='sha1:93e26daaf570bc92b58f7421ab28c22ca405ad93',
        naming='pytorchcv',
        schedule='not stated',
        top1=None,
        # The file's name holds its top-5 error, 4.75 %.
        top5=95.25,
        origin=PYTORCHCV,
    ),
}


def first_for(arch: str | None) -> str | None:
    """The first name of released weights of an architecture; None if there are none."""
    return next((name for name, weights in CATALOGUE.items() if weights.arch == arch), None)


def released() -> str:
    """The architectures with released weights, for messages."""
    return ', '.join(dict.fromkeys(weights.arch for weights in CATALOGUE.values()))


def markdown_table() -> str:
    """The catalogue as a table, as in docs/weights.md."""
    lines = ['| name | schedule | top-1 / top-5, published | checksum | file |', '|---|---|---|---|---|']
    for name, weights in CATALOGUE.items():
        top1 = '-' if weights.top1 is None else f'{weights.top1:.2f}'
        checksum = f'`{weights.checksum}`' if weights.checksum else 'none known'
        lines.append(
            f'| `{name}` | {weights.schedule} | {top1} / {weights.top5:.2f} | {checksum} | '
            f'[`{weights.file}`]({weights.urls[0]}) |'
        )
    return '\n'.join(lines) + '\n'
