"""Ids of images and categories in a results file: those of an annotation file, or counted from 1."""

import os
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path, PurePath

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.data.coco_fields import CATEGORY, IMAGE, entry_problem, read_coco

NOT_LISTED = 'not among the images of the annotation file'


class CountedIds:
    """Images are numbered from 1 as they come, and the id of a category is the index of its class plus 1."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def problem(self, path: str) -> None:
        """Never anything: any image gets an id."""

    def image_id(self, path: str) -> int:
        """Returns the next id."""
        return next(self._numbers)

    def category_ids(self, classes: Sequence[str]) -> list[int]:
        """Returns the category id of each class."""
        return list(range(1, len(classes) + 1))

    def unused(self) -> int:
        """How many images have an id and were not given: none."""
        return 0


class AnnotatedIds:
    """Ids of an annotation file: an image is found by the end of its path, a category by its name.

    Args:
        file: A COCO annotation file; it may lack annotations, as those of test images do.

    Raises:
        FormatError: The file cannot be read or is not COCO's.
        UserError: An entry has no id or name, or two images have the same name.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = str(file)
        data = read_coco(file)
        for kind, fields in (('images', IMAGE), ('categories', CATEGORY)):
            for number, entry in enumerate(data[kind]):
                if problem := entry_problem(entry, fields):
                    raise UserError(f'{file}: {kind}[{number}] {problem}')
        self._images: dict[str, int | str] = {}
        for image in data['images']:
            name = os.path.normpath(image['file_name'])
            if self._images.setdefault(name, image['id']) != image['id']:
                raise UserError(
                    f'{file}: two images have the file name {name}. Results could not be assigned to one of them'
                )
        self._categories = _categories(data)
        self._taken: set[int | str] = set()

    def problem(self, path: str) -> str | None:
        """Says why an image gets no id, or None; in that case, its entry is taken."""
        key = self._find(path)
        if key is None:
            return f'{NOT_LISTED} {self.file}'
        if key in self._taken:
            return f'{self.file} has one image of this name, and another input was taken for it'
        self._taken.add(key)
        return None

    def image_id(self, path: str) -> int | str:
        """Returns the id of an image that `problem` accepted."""
        return self._find(path)

    def category_ids(self, classes: Sequence[str]) -> list[int]:
        """Returns the category id of each class.

        Raises:
            UserError: A class is not among the categories.
        """
        if missing := [name for name in classes if name not in self._categories]:
            raise UserError(
                f'{self.file} has no category {", ".join(map(repr, missing))}; it has '
                f'{", ".join(map(repr, self._categories))}. The model has other classes than these annotations'
            )
        return [self._categories[name] for name in classes]

    def unused(self) -> int:
        """How many images of the file were not given."""
        return len(self._images) - len(self._taken)

    def _find(self, path: str) -> int | str | None:
        """Finds an image by the longest end of its path that is a file name of the annotations."""
        parts = PurePath(path).parts
        ends = (os.path.join(*parts[start:]) for start in range(len(parts)))
        return next((self._images[end] for end in ends if end in self._images), None)


def _categories(data: dict) -> dict[str, int]:
    """Category ids by name. Of categories with one name, the first that annotations use counts."""
    names = [category['name'] for category in data['categories']]
    if len(set(names)) < len(names):
        used = _category_ids(data.get('annotations', ()))
        ordered = sorted(data['categories'], key=lambda category: category['id'] not in used)
    else:
        ordered = data['categories']
    found: dict[str, int] = {}
    for category in ordered:
        found.setdefault(category['name'], category['id'])
    return {category['name']: found[category['name']] for category in data['categories']}


def _category_ids(annotations: Iterable) -> set:
    return {entry.get('category_id') for entry in annotations if isinstance(entry, dict)}
