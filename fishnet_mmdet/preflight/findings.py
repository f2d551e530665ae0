"""What a check can find, as data, and the one report that shows all of it."""

from collections import Counter
from dataclasses import asdict, dataclass, field

from fishnet_mmdet.data.coco import brief
from fishnet_mmdet.errors import UserError


class PreflightError(UserError, RuntimeError):
    """Something a run needs is missing or does not fit; the message names it and the fix."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding.

    Attributes:
        what: What the report calls it.
        fix: What to do about it.
        stops: Whether it stops a run: it would crash it, or spoil it without a word.
        drops: Whether `--skip-bad` may leave the entry out of training.
    """

    what: str
    fix: str = ''
    stops: bool = True
    drops: bool = False


_CLASSES_FIX = (
    'Set metainfo=dict(classes=(...)) of each loader to the names of the annotations, in their order, and num_classes '
    "of every head to their number. To leave categories out on purpose, name them in the config's ignored_classes=(...)."
)
_XYWH = "COCO's boxes are x, y, width, height in pixels: are these two corners, or fractions?"
_POLYGON = 'a polygon is x1, y1, x2, y2, x3, y3 and so on in pixels: three corners or more'
_SILENTLY = 'nothing to do, unless they should be learnt: MMDetection leaves them out without a word'

KINDS = {
    # Configs and files
    'data-missing': Kind('data not found'),
    'not-checked': Kind('not checked', stops=False),
    'file-broken': Kind('not a COCO annotation file', 'write it again, or download it again'),
    'entry-malformed': Kind('malformed entries', "fix what wrote the file; its fields are COCO's", drops=True),
    'weights': Kind('pretrained weights'),
    # Classes
    'category-twice': Kind('categories given twice', 'each id and each name may stand there once'),
    'classes-differ': Kind('classes do not fit', _CLASSES_FIX),
    'classes-order': Kind('classes in another order', _CLASSES_FIX),
    'classes-of-splits': Kind(
        'classes differ between the splits', 'their labels would not mean the same: give all loaders the same classes'
    ),
    'folders': Kind('data in folders'),
    # Images in the annotation file, and annotations as a whole
    'image-id-twice': Kind('image ids given twice', 'all but the last such image would vanish: number the images anew'),
    'path-escapes': Kind(
        'images outside the image folder',
        'name files below the folder; to trust another one: preflight=dict(trusted_folders=[...]) in the config',
        drops=True,
    ),
    'annotation-id-twice': Kind('annotation ids given twice', 'number the annotations anew', drops=True),
    'annotation-id-zero': Kind(
        'annotation id 0', 'pycocotools never counts it as found: number annotations from 1', stops=False
    ),
    'image-absent': Kind(
        'annotations of images that the file does not list', 'add the images, or drop these', drops=True
    ),
    'category-unused': Kind(
        'categories without an annotation that the config does not know',
        'nothing to do; a name in ignored_classes=(...) is not told again',
        stops=False,
    ),
    'category-unknown': Kind(
        'annotations of categories that the file does not list', 'add the categories', drops=True
    ),
    'no-images': Kind('no images', 'is this the right file?'),
    'no-objects': Kind('no object to learn or to find', 'annotate at least one that is no crowd and not left out'),
    'all-filtered': Kind('filter_cfg leaves no image', 'relax filter_cfg of the loader'),
    # Boxes and masks
    'not-finite': Kind('numbers that are NaN, infinite or beyond 2^31', drops=True),
    'box-negative': Kind('boxes of negative size', _XYWH, drops=True),
    'box-outside': Kind('boxes outside their image', _XYWH, drops=True),
    'box-over-edge': Kind('boxes beyond the edge of their image', _XYWH, stops=False),
    'box-tiny': Kind('boxes with a side below one pixel', _SILENTLY, stops=False),
    'area-empty': Kind('objects of area 0 or less', _SILENTLY, stops=False),
    'mask-missing': Kind('objects without a mask', 'training would stop with KeyError: mask', drops=True),
    'mask-empty': Kind('masks without a pixel', drops=True),
    'polygon-short': Kind('polygons of fewer than 6 or an odd count of numbers', _POLYGON, drops=True),
    'polygon-part-short': Kind('objects of which a part is no polygon, and is left out', _POLYGON, stops=False),
    'polygon-outside': Kind('polygons outside their image', _POLYGON, drops=True),
    'polygon-over-edge': Kind('polygons beyond the edge of their image', _POLYGON, stops=False),
    'polygon-endless': Kind(
        'polygons with edges of more than 16,777,216 pixels in all',
        'pycocotools would ask for gigabytes: draw the outline, or encode the mask as RLE',
        drops=True,
    ),
    'rle-ignored': Kind(
        'RLE masks in training that reads polygons alone',
        'MMDetection ignores these objects without a word: set poly2mask=True in LoadAnnotations',
        drops=True,
    ),
    'rle-broken': Kind('RLE masks that are none', 'encode them with pycocotools.mask', drops=True),
    'rle-size': Kind('RLE masks of another size than their image', 'encode them anew', drops=True),
    # Image files
    'image-missing': Kind('images missing', 'download or copy them again', drops=True),
    'image-empty': Kind('image files without a byte', 'download or copy them again', drops=True),
    'image-truncated': Kind('images cut short', 'download or copy them again', drops=True),
    'image-broken': Kind('files that are no images', 'download or copy them again', drops=True),
    'image-size': Kind(
        'images of another size than annotated', 'their boxes would lie elsewhere: annotate what is read', drops=True
    ),
    'image-huge': Kind(
        'images beyond the pixel limit', 'scale them down or cut them into tiles', drops=True
    ),
    'image-turned': Kind(
        'images that their EXIF tag turns or mirrors without a change of size',
        'look at one: are the annotations turned as well? Else write the images anew without the tag',
        stops=False,
    ),
    'image-16-bit': Kind('images of more than 8 bits', 'they are read with the upper 8 bits only', stops=False),
    # Evaluators
    'evaluator-images': Kind(
        'the evaluator and its loader do not belong together',
        'give both the same annotation file, and the loader neither indices nor a filter_cfg that leaves images out',
    ),
}  # fmt: skip
"""Every kind of finding, by name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: A key of `KINDS`.
        where: The split or splits it is of.
        file: The file or folder it lies in.
        detail: What exactly, in words.
        image: Id of the image, if it is about one.
        annotation: Id of the annotation, if it is about one.
        entry: The annotation file, the list in it and the place there, counted from 0, of the entry it is about;
            panoptic files have 'segments'.
    """

    kind: str
    where: str
    file: str
    detail: str
    image: int | str | None = None
    annotation: int | None = None
    entry: tuple[str, str, int] | None = None

    def __str__(self) -> str:
        names = (('annotation', self.annotation), ('image', self.image))
        about = ' of '.join(f'{name} {brief(value)}' for name, value in names if value is not None)
        text = f'{about}: {self.detail}' if about else self.detail
        # File names come from strangers: nothing in them moves a cursor, and all of it can be written.
        return ''.join(c if c.isprintable() or c == '\n' else repr(c)[1:-1] for c in text)


@dataclass
class Report:
    """All that one preflight found.

    Attributes:
        findings: In the order in which they were found.
        checked: What was looked at, a line for each data set.
        classes: Number of annotations by split and class name.
    """

    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def errors(self) -> list[Finding]:
        """What stops a run."""
        return [finding for finding in self.findings if KINDS[finding.kind].stops]

    @property
    def counts(self) -> Counter:
        """Number of findings by kind."""
        return Counter(finding.kind for finding in self.findings)

    def text(self, shown: int = 5) -> str:
        """The report for a screen or a log: errors first, each kind and file once, with its first findings and the fix.

        Args:
            shown: Findings of a kind in a file that are named; the others are counted.
        """
        errors = len(self.errors)
        lines = [
            *self.checked,
            f'preflight: {_count(errors, "error")}, {_count(len(self.findings) - errors, "warning")}',
        ]
        groups: dict[tuple, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault((finding.kind, finding.where, finding.file), []).append(finding)
        for (name, where, file), group in sorted(groups.items(), key=lambda item: not KINDS[item[0][0]].stops):
            kind = KINDS[name]
            head = f'{"error" if kind.stops else "warning"} [{name}] {where}: {kind.what}'
            lines += ['', f'{head} ({len(group)}, {file})' if file else head]
            lines += [f'  {finding}' for finding in group[:shown]]
            lines += [f'  ... and {len(group) - shown} more'] * (len(group) > shown)
            lines += [f'  fix: {kind.fix}'] * bool(kind.fix)
        return '\n'.join(lines)

    def as_json(self) -> dict:
        """The whole report as plain containers."""
        rows = [
            {'stops': KINDS[f.kind].stops, **{k: v for k, v in asdict(f).items() if v is not None}}
            for f in self.findings
        ]
        return {
            'checked': self.checked,
            'classes': self.classes,
            'counts': dict(self.counts),
            'findings': rows,
        }

    def raise_errors(self) -> None:
        """Stops where there are errors.

        Raises:
            PreflightError: Its message is the report.
        """
        if self.errors:
            raise PreflightError(self.text())


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'
