"""Every kind of finding that a check can yield, with its fix. docs/data-checks.md says why each matters."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding.

    Attributes:
        what: The heading of such findings in a report.
        fix: What to do about them.
        stops: Whether such a finding stops a run, because training would crash or silently learn something wrong.
        drops: Whether `--skip-bad` can leave the entry out of training.
        renumbers: Whether `--skip-bad` solves it by numbering the annotations again; none is left out.
    """

    what: str
    fix: str = ''
    stops: bool = True
    drops: bool = False
    renumbers: bool = False


_CLASSES_FIX = (
    'Set metainfo=dict(classes=(...)) of each loader to names of the annotation file, in its order, and num_classes of '
    'every head to their number.'
)
_BOX_FIX = 'COCO boxes are x, y, width, height in pixels; check for boxes written as two corners or as fractions'
_POLYGON_FIX = 'a polygon is x1, y1, x2, y2, x3, y3, ... in pixels, with three points or more'
_UNUSED_FIX = 'none needed, unless the objects should be learnt: MMDetection leaves them out without a message'
_COPY_FIX = 'download or copy the file again'

KINDS = {
    # Configs and files
    'data-missing': Kind('data not found'),
    'not-checked': Kind('not checked', stops=False),
    'file-broken': Kind('not a COCO annotation file', 'write the file again, or download it again'),
    'entry-malformed': Kind(
        'malformed entries', 'correct the tool that wrote the file: the fields must be those of COCO', drops=True
    ),
    'weights': Kind('pretrained weights'),
    # Classes
    'category-twice': Kind('categories listed twice', 'list each id and each name once'),
    'classes-differ': Kind('classes do not match', _CLASSES_FIX),
    'classes-order': Kind('classes in a different order', _CLASSES_FIX),
    'classes-of-splits': Kind(
        'classes differ between the splits',
        'give all loaders the same classes: a label must mean the same in each split',
    ),
    'folders': Kind('data in folders'),
    # Images in the annotation file, and annotations as a whole
    'image-id-twice': Kind(
        'image ids used twice', 'renumber the images: of those with the same id, only the last is used'
    ),
    'path-escapes': Kind(
        'images outside the image folder',
        'name files below the folder, or trust another folder: preflight=dict(trusted_folders=[...]) in the config',
        drops=True,
    ),
    'image-twice': Kind(
        'image files listed under two ids',
        'list each file once, with all of its objects: each entry teaches the objects of the other as background',
        stops=False,
    ),
    'annotation-id-twice': Kind(
        'annotation ids used twice', 'renumber the annotations; --skip-bad does it for training data', renumbers=True
    ),
    'annotation-id-text': Kind(
        'annotation ids that pycocotools cannot use',
        'renumber the annotations, or evaluate with OfficialCocoMetric, which renumbers them',
    ),
    'annotation-id-zero': Kind(
        'annotation id 0', 'number annotations from 1: pycocotools never counts id 0 as found', stops=False
    ),
    'image-absent': Kind(
        'annotations of images that the file does not list', 'add the images, or remove the annotations', drops=True
    ),
    'category-unused': Kind(
        'categories without annotations that are not in the config',
        'none needed; to hide this warning, name them in ignored_classes=(...)',
        stops=False,
    ),
    'category-left-out': Kind(
        'categories with annotations that are not in the config',
        'none needed, if they are left out on purpose: their objects are background; to hide this warning, name them '
        'in ignored_classes=(...)',
        stops=False,
    ),
    'category-unknown': Kind(
        'annotations of categories that the file does not list', 'add the categories', drops=True
    ),
    'no-images': Kind('no images', 'check that this is the right file'),
    'no-objects': Kind(
        'no object to learn or to find', 'annotate at least one object that is used and is not a crowd'
    ),
    'class-without-objects': Kind(
        'classes without an object to learn or to find',
        'annotate objects that are used and are not crowds (iscrowd=0), or remove the classes from the config',
        stops=False,
    ),
    'all-filtered': Kind('filter_cfg leaves no image', 'relax filter_cfg of the loader'),
    # Boxes and masks
    'not-finite': Kind('numbers that are NaN, infinite or beyond 2^31', 'correct the numbers', drops=True),
    'box-negative': Kind('boxes of negative size', _BOX_FIX, drops=True),
    'box-outside': Kind('boxes outside their image', _BOX_FIX, drops=True),
    'box-corners': Kind('boxes written as two corners', _BOX_FIX, drops=True),
    'box-over-edge': Kind(
        'boxes beyond the edge of their image',
        "cut them at the edge, or leave that to MMDetection's Resize (clip_object_border). If there are many, check "
        'for boxes written as two corners or as fractions',
        stops=False,
    ),
    'box-tiny': Kind('boxes with a side shorter than one pixel', _UNUSED_FIX, stops=False),
    'area-empty': Kind('objects of area 0 or less', _UNUSED_FIX, stops=False),
    'object-twice': Kind(
        'objects listed twice, with the same box and class in the same image',
        'list each object once: the second one counts as missed in the evaluation',
        stops=False,
    ),
    'mask-box': Kind(
        'masks that do not fit their boxes',
        'compare both with the image. Frequent causes: masks of another image size or of fractions, an RLE written '
        'row by row (COCO: column by column), boxes written as corners or around their centre',
        drops=True,
    ),
    'mask-box-loose': Kind(
        'masks that fit their boxes badly', 'compare both with the image; nothing to do if only a few objects are so',
        stops=False,
    ),
    'mask-missing': Kind(
        'objects without a mask', 'add the masks: training would stop with KeyError: mask', drops=True
    ),
    'mask-empty': Kind('masks without a pixel', 'draw the masks, or remove the annotations', drops=True),
    'polygon-short': Kind('polygons with fewer than 6 or an odd count of numbers', _POLYGON_FIX, drops=True),
    'polygon-part-short': Kind(
        'objects with a part that is not a polygon; the part is left out', _POLYGON_FIX, stops=False
    ),
    'polygon-outside': Kind('polygons outside their image', _POLYGON_FIX, drops=True),
    'polygon-over-edge': Kind('polygons beyond the edge of their image', _POLYGON_FIX, stops=False),
    'polygon-endless': Kind(
        'polygons with edges of more than 16,777,216 pixels',
        'draw the outline, or encode the mask as RLE: pycocotools would need gigabytes of memory',
        drops=True,
    ),
    'rle-ignored': Kind(
        'RLE masks in training that reads polygons only',
        'set poly2mask=True in LoadAnnotations: without it, MMDetection ignores these objects without a message',
        drops=True,
    ),
    'rle-broken': Kind('RLE masks that cannot be decoded', 'encode the masks with pycocotools.mask', drops=True),
    'rle-size': Kind('RLE masks of a different size than their image', 'encode the masks again', drops=True),
    # Image files
    'image-missing': Kind('images missing', _COPY_FIX, drops=True),
    'image-name': Kind(
        'image files under another name',
        'correct file_name in the annotation file, with forward slashes and as the file is named on disk',
    ),
    'image-empty': Kind('image files of zero bytes', _COPY_FIX, drops=True),
    'image-truncated': Kind('truncated images', _COPY_FIX, drops=True),
    'image-broken': Kind('files that are not readable images', _COPY_FIX, drops=True),
    'image-size': Kind(
        'images of a different size than annotated',
        'annotate the images that are read: the boxes would be in the wrong places',
        drops=True,
    ),
    'image-huge': Kind('images above the pixel limit', 'scale them down or cut them into tiles', drops=True),
    'image-turned': Kind(
        'images that an EXIF tag rotates or mirrors without changing their size',
        'view one with its boxes; if the annotations are not rotated too, save the images without the tag',
        stops=False,
    ),
    'image-16-bit': Kind('images of more than 8 bits', 'none needed: only the upper 8 bits are read', stops=False),
    'images-enlarged': Kind('images enlarged several times', stops=False),
    # Evaluators
    'evaluator-images': Kind(
        'evaluator and loader have different images',
        'give both the same annotation file, and the loader no indices and no filter_cfg that leaves images out',
    ),
    # Settings
    'figure-missing': Kind(
        'metric keys that val_evaluator does not return',
        'name a key that val_evaluator returns, or let it evaluate what is missing (metric=...)',
    ),
    'figures-twice': Kind(
        'figures of the same name', 'give each metric a prefix of its own: MMEngine refuses two figures of one name'
    ),
    'parts-missing': Kind('settings that belong together', 'set all of them, or set all of them to None'),
    'package-missing': Kind('packages of visualization backends', 'install the package, or remove the backend'),
    'setting-invalid': Kind('settings that stop the run later', 'correct the setting'),
    'no-effect': Kind(
        'settings that have no effect, or only a part of it', 'correct or remove the setting', stops=False
    ),
}  # fmt: skip
"""Every kind of finding, by name."""
