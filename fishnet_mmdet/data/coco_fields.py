"""COCO's annotation format, field by field: what each field of an entry must be, and what the numbers must be."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from numbers import Real
from pathlib import Path
from typing import NamedTuple

from fishnet_mmdet.data.json_files import FormatError, brief, read_json

LIMIT = 2.0**31
"""Coordinates, areas and numbers of pixels must be smaller: pycocotools stores them in 32 bits."""

_NUMBERS = {int, float}
"""Types of JSON's numbers. bool is missing on purpose: Python counts it among the integers."""


class Problem(NamedTuple):
    """One thing that is wrong with an entry.

    Attributes:
        kind: Its name, a key of `fishnet_mmdet.preflight.KINDS`.
        text: What exactly is wrong.
        harmless: Whether pycocotools still evaluates the entry correctly. If not, it may stop with an error, use memory
            without limit, end the process, or compute wrong figures.
    """

    kind: str
    text: str
    harmless: bool = False


def is_number(value: object) -> bool:
    """Whether a value is a number, finite or not; booleans are not numbers."""
    return type(value) in _NUMBERS or (isinstance(value, Real) and not isinstance(value, bool))


def are_numbers(values: object, count: int | None = None) -> bool:
    """Whether a value is a list of numbers, finite or not, of length `count` if that is given."""
    if not isinstance(values, list | tuple) or count not in (None, len(values)):
        return False
    return _NUMBERS.issuperset(map(type, values)) or all(map(is_number, values))


def is_finite(value: float) -> bool:
    """Whether a number can be used in computations: not NaN, not infinite, and below `LIMIT`."""
    return -LIMIT < value < LIMIT


def is_image_size(height: object, width: object) -> bool:
    """Whether two values are the height and width of an image in pixels."""
    return type(height) is type(width) is int and min(height, width) > 0 and height * width < LIMIT


def whole(value: object) -> object:
    """A whole number that is written as a float, as an integer; any other value as it is."""
    return int(value) if type(value) is float and value.is_integer() else value


def is_id(value: object) -> bool:
    """Whether a value can be the id of a category: an integer of at most 64 bits, which may be written as 3.0."""
    if type(value) is float:
        return value.is_integer() and abs(value) < 2**53
    return type(value) is int and -(2**63) <= value < 2**63


def is_key(value: object) -> bool:
    """Whether a value can be the id of an image: like that of a category, or a text."""
    return is_id(value) or isinstance(value, str)


def key_in(entry: object, name: str) -> object:
    """The id in a field of an entry, or None if it cannot be used as one."""
    value = entry.get(name) if isinstance(entry, Mapping) else None
    return whole(value) if is_key(value) else None


def is_annotation_id(value: object) -> bool:
    """Whether a value can be the id of an annotation: nothing refers to it, so that it only has to be unique."""
    return is_key(value) or (type(value) is float and is_finite(value))


def _is_box(value: object) -> bool:
    return are_numbers(value, 4)


def _is_flag(value: object) -> bool:
    return value in (0, 1)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_file_name(value: object) -> bool:
    return isinstance(value, str) and value != '' and '\0' not in value


class Field(NamedTuple):
    """A rule for one field of an entry: the test that its value must pass, and what is said of one that does not."""

    is_right: Callable[[object], bool]
    complaint: str
    optional: bool = False


ID = Field(is_id, 'not an integer')
KEY = Field(is_key, 'neither an integer nor a text')
BOX = Field(_is_box, 'not a list of four numbers')
NUMBER = Field(is_number, 'not a number')
ANNOTATION_ID = Field(is_annotation_id, 'neither a number nor a text')
IS_CROWD = Field(_is_flag, 'neither 0 nor 1')

CATEGORY = {'id': ID, 'name': Field(_is_text, 'not a text')}
IMAGE = {'id': KEY, 'file_name': Field(_is_file_name, 'not a file name')}
"""Without its size: see `image_problem`."""

ANNOTATION = {
    'id': ANNOTATION_ID,
    'image_id': KEY,
    'category_id': ID,
    'bbox': BOX,
    'area': NUMBER,
    'iscrowd': IS_CROWD._replace(optional=True),
}
"""Without its mask: see `fishnet_mmdet.data.coco_masks`."""


def entry_problem(entry: object, fields: Mapping[str, Field]) -> str | None:
    """The first field of an entry that is missing or has the wrong type.

    Args:
        entry: A JSON value, which should be an object.
        fields: Rules by name of the field. Fields without a rule may hold anything.

    Returns:
        What is wrong, or None.
    """
    if not isinstance(entry, Mapping):
        return f'{brief(entry)} is not an object'
    for name, (is_right, complaint, optional) in fields.items():
        if name in entry:
            if not is_right(entry[name]):
                return f'{name} is {brief(entry[name])}, {complaint}'
        elif not optional:
            return f'has no {name}'
    return None


def image_problem(entry: object) -> str | None:
    """What is wrong with an entry of `images`, or None."""
    return entry_problem(entry, IMAGE) or size_problem(entry)


def size_problem(image: Mapping) -> str | None:
    """What is wrong with the size that an entry of `images` gives, or None."""
    width, height = image.get('width'), image.get('height')
    if is_image_size(*map(whole, (height, width))):
        return None
    return f'width is {brief(width)} and height is {brief(height)}: both must be positive integers'


def finite_problem(entry: Mapping, names: Sequence[str]) -> Problem | None:
    """The first field of an entry with a number that is not finite.

    Args:
        entry: An entry in which these fields hold numbers, or lists of numbers.
        names: Names of the fields.
    """
    for name in names:
        value = entry[name]
        if not (all(map(is_finite, value)) if isinstance(value, list | tuple) else is_finite(value)):
            return Problem('not-finite', f'{name} is {brief(value)}: not finite, or beyond 2^31')
    return None


def read_coco(path: Path | str) -> dict:
    """Reads an annotation file of any size and checks that it has COCO's three lists; entries are not checked.

    Raises:
        FormatError: The file cannot be read or is not COCO's.
    """
    data = read_json(path, inf)
    if problem := structure_problem(data):
        raise FormatError(f'{path}: {problem}')
    return data


def structure_problem(data: object) -> str | None:
    """What keeps the content of a file from being COCO annotations, or None.

    `annotations` may be missing, as in the files of COCO's test images.
    """
    if not isinstance(data, dict):
        return f'not COCO annotations: {brief(data)} is not an object with images, annotations and categories'
    for name in ('images', 'categories', 'annotations'):
        if name not in data and name != 'annotations':
            return f'not COCO annotations: it has no {name}, only {brief(sorted(data))}'
        if not isinstance(data.get(name, []), list):
            return f'not COCO annotations: {name} is {brief(data[name])}, not a list'
    return None
