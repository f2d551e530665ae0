"""Ways to spoil image files and the paths to them."""

import os

import numpy as np
from drawn_case import SIDE, as_png, defect, png_of, set_orientation, stretched
from PIL import Image


@defect('image-missing')
def image_gone(case):
    image = case.image()
    case.path(image).unlink()
    return image['id'], None


@defect('image-missing')
def link_to_nothing(case):
    image = case.image()
    case.path(image).unlink()
    case.path(image).symlink_to(case.root / case.split / 'nothing.jpg')
    return image['id'], None


@defect('image-empty')
def zero_bytes(case):
    image = case.image()
    case.path(image).write_bytes(b'')
    return image['id'], None


@defect('image-truncated', times=3)
def jpeg_cut_short(case):
    image = case.image()
    content = case.path(image).read_bytes()
    case.path(image).write_bytes(content[: int(len(content) * case.rng.uniform(0.5, 0.999))])
    return image['id'], None


@defect('image-truncated', times=2)
def png_cut_short(case):
    image = as_png(case, 'RGB')
    content = case.path(image).read_bytes()
    case.path(image).write_bytes(content[: int(len(content) * case.rng.uniform(0.5, 0.99))])
    return image['id'], None


@defect('image-truncated')
def jpeg_filled_up_with_zeros(case):
    """As a copy that was broken off leaves it on some file systems: the right size, and nothing in it."""
    image = case.image()
    content = case.path(image).read_bytes()
    half = len(content) // 2
    case.path(image).write_bytes(content[:half] + bytes(len(content) - half))
    return image['id'], None


@defect('image-truncated', times=2)
def png_without_its_end(case):
    """Pillow reads it, OpenCV does not."""
    image = as_png(case, 'RGB')
    content = case.path(image).read_bytes()
    case.path(image).write_bytes(content[: len(content) - int(case.rng.integers(1, 13))])
    return image['id'], None


@defect('image-truncated')
def animation_cut_in_its_second_frame(case):
    image = case.image()
    frames = [Image.fromarray(case.rng.integers(0, 255, (SIDE, SIDE), np.uint8)) for _ in range(2)]
    path = case.path(image)
    frames[0].save(path, 'GIF', save_all=True, append_images=frames[1:])
    path.write_bytes(path.read_bytes()[:-200])
    return image['id'], None


@defect('image-name')
def backslashes_in_a_name(case):
    image = case.image()
    folder = case.root / case.split / 'images'
    folder.mkdir()
    case.path(image).rename(folder / image['file_name'])
    image['file_name'] = f'images\\{image["file_name"]}'
    return image['id'], None


@defect('image-name', 'train')
def name_in_capitals(case):
    image = case.image()
    image['file_name'] = image['file_name'].upper()
    return image['id'], None


@defect('image-name', 'train')
def folder_named_twice(case):
    image = case.image()
    image['file_name'] = f'train/{image["file_name"]}'
    return image['id'], None


@defect('image-broken')
def a_web_page(case):
    image = case.image()
    case.path(image).write_text('<!DOCTYPE html><html>sign in</html>')
    return image['id'], None


@defect('image-broken', times=2)
def noise(case):
    image = case.image()
    case.path(image).write_bytes(b'\x01' + case.rng.bytes(3000))
    return image['id'], None


@defect('image-broken')
def a_program(case):
    """Pillow would call Ghostscript for it."""
    image = case.image()
    case.path(image).write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n%%EndComments\n')
    return image['id'], None


@defect('image-broken', 'train')
def a_folder(case):
    image = case.image()
    case.path(image).unlink()
    case.path(image).mkdir()
    return image['id'], None


@defect('image-broken', 'train')
def a_pipe(case):
    image = case.image()
    case.path(image).unlink()
    os.mkfifo(case.path(image))
    return image['id'], None


@defect('image-broken')
def names_that_no_file_has(case):
    image = case.image()
    image['file_name'] = ('\ud800\x1b[31m.jpg', 'x' * 300)[case.split == 'val']
    return image['id'], None


@defect('image-size', times=2)
def file_of_another_size(case):
    image = case.image()
    size = (SIDE + int(case.rng.integers(1, 9)), SIDE)
    Image.open(case.path(image)).resize(size).save(case.path(image))
    return image['id'], None


@defect('image-size')
def entry_of_another_size(case):
    image = stretched(case)
    image['width'], image['height'] = SIDE, image['width']
    return image['id'], None


@defect('image-size', times=2)
def turned_by_exif(case):
    """The stored size is annotated, but readers turn the image on its side."""
    image = stretched(case)
    set_orientation(case.path(image), int(case.rng.integers(5, 9)))
    return image['id'], None


@defect('image-turned', times=3)
def mirrored_by_exif(case):
    image = case.image()
    set_orientation(case.path(image), int(case.rng.integers(2, 9)))
    return image['id'], None


@defect('image-16-bit')
def sixteen_bits(case):
    return as_png(case, 'I;16')['id'], None


@defect('image-broken')
def numbers_of_32_bits(case):
    """Pillow reads such a TIFF, OpenCV does not."""
    image = case.image()
    case.path(image).unlink()
    image['file_name'] = 'picture.tif'
    Image.fromarray(np.zeros((SIDE, SIDE), np.float32)).save(case.path(image))
    return image['id'], None


@defect('image-huge')
def a_bomb(case):
    image = case.image()
    case.path(image).write_bytes(png_of(60_000, 60_000))
    return image['id'], None


@defect('path-escapes')
def parent_folder(case):
    image = case.image()
    image['file_name'] = f'../../{case.root.name}/{case.split}/../../other.jpg'
    return image['id'], None


@defect('path-escapes')
def absolute_path(case):
    image = case.image()
    image['file_name'] = '/etc/passwd'
    return image['id'], None


@defect('path-escapes')
def link_out_of_the_root(case):
    image = case.image()
    target = case.root.parent / 'elsewhere.jpg'
    case.path(image).rename(target)
    case.path(image).symlink_to(target)
    return image['id'], None
