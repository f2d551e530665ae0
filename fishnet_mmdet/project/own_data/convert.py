"""Reads YOLO and Pascal VOC folders through supervision, and writes them as COCO."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import yaml

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.folders import walk
from fishnet_mmdet.project.own_data.files import role_of
from fishnet_mmdet.project.own_data.split import write_annotations

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')

INSTALL = 'pip install supervision'


def converted(root: Path, folder: Path, overwrite: bool) -> list[tuple[str, Path, Path]]:
    """Converts the YOLO or Pascal VOC data in a folder.

    Args:
        root: The data folder.
        folder: Where the COCO files are written, one for each split.
        overwrite: Whether files of an earlier call may be replaced.

    Returns:
        For training and, if it is there, validation: name of the format, COCO file, image folder.

    Raises:
        UserError: There are no data of a format that is known, they are broken, or supervision is missing.
    """
    for name, find, read in (('YOLO', _yolo_parts, _read_yolo), ('Pascal VOC', _voc_parts, _read_voc)):
        if parts := find(root):
            supervision = _supervision(root, name)
            chosen = _two_splits(root, parts)
            contents = {split: _coco(read, supervision, part) for split, part in chosen.items()}
            if read is _read_voc:
                _share_classes(list(contents.values()))
            return [
                (name, write_annotations(folder / f'{split}.json', contents[split], overwrite), part['images'])
                for split, part in chosen.items()
            ]
    raise UserError(
        f'{root}: no annotations in it, at any depth: neither COCO (.json with images, annotations and categories), '
        'nor YOLO (data.yaml and labels), nor Pascal VOC (.xml)'
    )


def _supervision(root: Path, name: str) -> ModuleType:
    try:
        import supervision
    except ImportError as error:
        raise UserError(f'{root} holds {name} data. Reading them needs {error.name}: {INSTALL}') from error
    return supervision


def _two_splits(root: Path, parts: Mapping[str, dict]) -> dict[str, dict]:
    """What trains and what validates; a part without a role trains if it is the only one."""
    if len(parts) == 1:
        return {'all': next(iter(parts.values()))}
    if 'train' not in parts:
        raise UserError(f'{root}: none of its folders ({", ".join(parts)}) is named for training')
    val = parts.get('val') or parts.get('test')
    return {'converted_train': parts['train'], **({'converted_val': val} if val else {})}


def _coco(read: Callable, supervision: ModuleType, part: dict) -> dict:
    """Reads one part as the content of a COCO file."""
    try:
        data = read(supervision, part)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / 'coco.json'
            data.as_coco(annotations_path=str(file))
            content = json.loads(file.read_text(encoding='utf-8'))
        difficult = _difficult(part['labels'], content['images']) if read is _read_voc else {}
    # Also errors of XML and YAML, of files that are broken in any way: supervision checks little.
    except Exception as error:
        raise UserError(f'{part["labels"]} cannot be read: {type(error).__name__}: {error}') from error
    for entry in content['annotations']:
        # supervision marks masks of several parts as crowds, which training would leave out. Only difficult objects
        # should be left out.
        entry['iscrowd'] = next(difficult.get(entry['image_id'], iter(())), 0)
    content['licenses'] = []
    return content


def _share_classes(contents: Sequence[dict]) -> None:
    """Gives the parts one list of classes: supervision numbers the classes of Pascal VOC as they appear in each."""
    names = dict.fromkeys(entry['name'] for content in contents for entry in content['categories'])
    ids = {name: number for number, name in enumerate(names, start=1)}
    for content in contents:
        own = {entry['id']: entry['name'] for entry in content['categories']}
        for annotation in content['annotations']:
            annotation['category_id'] = ids[own[annotation['category_id']]]
        content['categories'] = [{'id': number, 'name': name, 'supercategory': ''} for name, number in ids.items()]


def _difficult(labels: Path, images: Sequence[Mapping]) -> dict[int, Iterator[int]]:
    """Whether each object of an image, in the order of its XML file, is marked difficult: 1 or 0, by image id.

    COCO's word for it is crowd: MMDetection's own reader of Pascal VOC leaves such objects out of loss and AP too.
    """
    # supervision reads them with it.
    from defusedxml.ElementTree import parse

    files = {image['id']: labels / f'{Path(image["file_name"]).stem}.xml' for image in images}
    return {
        image: iter([int(node.findtext('difficult') == '1') for node in parse(file).getroot().findall('object')])
        for image, file in files.items()
        if file.is_file()
    }


def _read_yolo(supervision: ModuleType, part: dict) -> object:
    return supervision.DetectionDataset.from_yolo(
        images_directory_path=str(part['images']),
        annotations_directory_path=str(part['labels']),
        data_yaml_path=str(part['yaml']),
    )


def _read_voc(supervision: ModuleType, part: dict) -> object:
    return supervision.DetectionDataset.from_pascal_voc(
        images_directory_path=str(part['images']), annotations_directory_path=str(part['labels'])
    )


def _yolo_parts(root: Path) -> dict[str, dict]:
    """Image and label folders by role, as the YAML file with the class names says."""
    for file in _files(root, ('.yaml', '.yml')):
        try:
            content = yaml.safe_load(file.read_text(encoding='utf-8'))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(content, dict) and 'names' in content:
            found = {}
            for role in ('train', 'val', 'test'):
                images = _yolo_images(file, content, role)
                labels = images and _labels_of(images)
                if labels:
                    found[role] = dict(images=images, labels=labels, yaml=file)
            if found:
                _check_roles(file, content, found)
                return found
    return {}


def _check_roles(file: Path, content: Mapping, found: Mapping[str, dict]) -> None:
    """Refuses a role that is named and not found: its images would be trained on, or be left out without a word."""
    instead = 'the test images validate' if 'test' in found else 'the training images are divided'
    for role, fix in (('train', ''), ('val', f', or remove the line: {instead} then')):
        if role not in found and (role == 'train' or content.get(role)):
            raise UserError(
                f'{file}: {role} is {content.get(role)!r}, not one folder of images with labels: correct it{fix}'
            )


def _yolo_images(file: Path, content: Mapping, role: str) -> Path | None:
    """The image folder of a role. Ultralytics and Roboflow disagree on where a relative path starts."""
    value = content.get(role)
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if not isinstance(value, str):
        return None
    value, inside = (text.replace('\\', '/') for text in (value, str(content.get('path') or '')))
    without_up = value.removeprefix('../')
    starts = (file.parent / inside / value, file.parent / value, file.parent / without_up)
    return next((path for path in starts if path.is_dir()), None)


def _labels_of(images: Path) -> Path | None:
    """The folder of the labels: `labels` in place of the last `images` of the path, or the same folder."""
    parts = list(images.parts)
    if 'images' in parts:
        place = len(parts) - 1 - parts[::-1].index('images')
        parts[place] = 'labels'
    folder = Path(*parts)
    return folder if any(folder.glob('*.txt')) else None


def _voc_parts(root: Path) -> dict[str, dict]:
    """Folders of XML files by role, each with the folder of the images of the same names."""
    found: dict[str, dict] = {}
    folders: dict[str, list[Path]] = {}
    for image in _files(root, IMAGES):
        folders.setdefault(image.stem, []).append(image.parent)
    file = None
    for file in _files(root, ('.xml',)):
        labels = file.parent
        if any(part['labels'] == labels for part in found.values()):
            continue
        images = _nearest(root, labels, folders.get(file.stem, []))
        if images:
            role = role_of(labels, root) or str(labels)
            if role in found:
                raise UserError(
                    f'{found[role]["labels"]} and {labels} both seem to be for {role}: put the annotations of a split '
                    'into one folder'
                )
            found[role] = dict(images=images, labels=labels)
    if file and not found:
        raise UserError(f'{root}: no image ({", ".join(IMAGES)}) has the name of an .xml file, such as that of {file}')
    return found


def _nearest(root: Path, labels: Path, folders: Sequence[Path]) -> Path | None:
    """The folder that is most likely to hold the images of a folder of XML files."""
    role = role_of(labels, root)
    return max(folders, key=lambda path: (path == labels, role_of(path, root) == role, -len(path.parts)), default=None)


def _files(root: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    for path, names in walk(root):
        yield from (path / name for name in names if name.lower().endswith(endings))
