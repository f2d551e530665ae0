"""Compares the image files of a loader with its annotation file."""

from collections.abc import Iterator, Sequence
from functools import partial

from rich.progress import Progress

from fishnet_mmdet.preflight.contents import Contents, ImageEntry
from fishnet_mmdet.preflight.findings import Finding
from fishnet_mmdet.preflight.images import ImageState, inspect_images
from fishnet_mmdet.preflight.loaders import Loader
from fishnet_mmdet.preflight.near_files import NearFiles
from fishnet_mmdet.preflight.readers import Reader


def check_images(
    contents: Contents, loader: Loader, trusted: Sequence[str], opened: bool, progress: Progress
) -> Iterator[Finding]:
    """Checks the images of a loader, and the panoptic maps if it has any.

    Args:
        contents: The annotation file of the loader.
        loader: The loader.
        trusted: Real paths of folders, apart from its own, to which links may lead.
        opened: Whether to open the files; if not, only their paths are checked.
        progress: Shows how many are done.
    """
    if loader.folder is None:
        yield Finding(
            'not-checked', loader.where, '', 'the images: LoadImageFromFile reads them by another file backend'
        )
        return
    trusted = [*trusted, *([str(loader.root.resolve())] if loader.root else [])]
    names = {key: image.name for key, image in contents.images.items()}
    reader = loader.pipeline.reader
    if opened and reader is None:
        text = 'the images: the pipeline has no LoadImageFromFile, so only their paths are checked'
        yield Finding('not-checked', loader.where, str(loader.folder), text)
    folders = [(loader.folder, names, reader)]
    if loader.maps:
        # mmdet finds the map of an image by this replacement.
        maps = {key: name.replace('.jpg', '.png') for key, name in names.items()}
        folders.append((loader.maps, maps, Reader()))
    for folder, names, reader in folders:
        task = progress.add_task(f'opening {loader.where} images', total=len(names))
        is_opened = opened and reader is not None
        reader = reader or Reader()
        near = NearFiles(folder)
        states = inspect_images(folder, names.values(), trusted, partial(progress.advance, task), is_opened, reader)
        progress.remove_task(task)
        for key, name in names.items():
            image, state = contents.images[key], states[name]
            rotates = reader.rotates and folder == loader.folder
            if state.problem:
                kind, text = _named(state, near, name)
            elif is_opened and (difference := _difference(state, image, rotates)):
                kind, text = difference
            else:
                continue
            entry = (str(loader.file), 'images', image.place)
            yield Finding(kind, loader.where, str(folder), text or name, image=key, entry=entry)


def _named(state: ImageState, near: NearFiles, name: str) -> tuple[str, str]:
    """Kind and detail of a problem; a missing file whose name is only written differently is named."""
    if state.problem == 'image-missing' and (text := near.find(name)):
        return 'image-name', text
    return state.problem, state.detail


def _difference(state: ImageState, image: ImageEntry, rotates: bool) -> tuple[str, str] | None:
    """Kind and detail of what differs between a readable image file and its entry, or None.

    Args:
        state: What was found in the file.
        image: The entry.
        rotates: Whether the reader rotates images by their EXIF tag.
    """
    orientation = state.orientation if rotates else 1
    read = (state.height, state.width) if orientation >= 5 else (state.width, state.height)
    if read != (image.width, image.height):
        text = f'{read[0]} x {read[1]} when read, annotated as {image.width} x {image.height}'
        if orientation >= 5:
            text += f' (EXIF orientation {orientation} rotates the stored {state.width} x {state.height})'
        return 'image-size', text
    if orientation != 1 and (orientation < 5 or image.width == image.height):
        return 'image-turned', f'EXIF orientation {orientation}'
    return ('image-16-bit', '') if state.deep else None
