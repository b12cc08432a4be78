"""Image files of strangers: of known formats and sane sizes, in 8 bits, upright where asked."""

from __future__ import annotations

import functools
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

logger = logging.getLogger(__name__)

# Formats that one decoder reads. Pillow knows others, and starts Ghostscript for EPS, whatever the
# file's ending is.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
# What a JPEG can have, and where Pillow speaks of a decompression bomb.
LONGEST_SIDE, MOST_PIXELS = 65_535, 178_956_970

# White in the pictures whose pixels have more than 8 bits.
_WHITE = {"F": (1, 255, 65_535), "I": (255, 65_535)}

# EXIF's orientations but the upright one. ImageOps.exif_transpose would also write the tags anew,
# which fails for odd ones.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_remarked = False


@contextmanager
def opened_image(source: str | os.PathLike[str] | BinaryIO) -> Iterator[Image.Image]:
    """Open an image file of one of ``FORMATS`` and a sane size; its pixels are not read yet.

    It is named by its path, or open already. Whatever Pillow raises for damaged heads is passed on.
    Opening a FIFO would wait for ever.
    """
    is_path = isinstance(source, (str, os.PathLike))
    if is_path and not stat.S_ISREG(os.stat(source).st_mode):
        raise OSError("it is not a file")
    with Image.open(source, formats=_formats()) as image:
        width, height = image.size
        if max(width, height) > LONGEST_SIDE or width * height > MOST_PIXELS:
            raise ValueError(
                f"it has {width}x{height} pixels; expected at most {LONGEST_SIDE} a side and "
                f"{MOST_PIXELS} in all"
            )
        yield image


def image_size(path: str | os.PathLike[str], upright: bool) -> tuple[int, int]:
    """(width, height) of an image file, with ``upright`` turned as its EXIF tag says, or zeros."""
    try:
        with opened_image(path) as image:
            width, height = image.size
            return (height, width) if upright and _rotation(image) >= 5 else (width, height)
    # Whether such an image matters is decided where it is read.
    except Exception:  # noqa: BLE001
        return 0, 0


def eight_bit(image: Image.Image) -> Image.Image:
    """Scale a picture whose pixels have more than 8 bits; others stay as they are.

    White is 65535 in 16 bits. Where the file does not say it (floats, 32 bits), it is the least of
    1 (floats alone), 255 and 65535 that no pixel exceeds; other pixels are a ``ValueError``.
    """
    if image.mode not in _WHITE and not image.mode.startswith("I;16"):
        return image
    pixels = np.asarray(image)
    least, most = pixels.min(), pixels.max()
    # Pillow may open 16 bits as 32.
    sixteen = image.mode not in _WHITE or (image.mode == "I" and image.format in ("PNG", "PPM"))
    candidates = (65_535,) if sixteen else _WHITE[image.mode]
    white = next((value for value in candidates if most <= value), 1)
    if not (least >= 0 and most <= white):
        raise ValueError(
            f"its pixels reach from {least:g} to {most:g}; expected 0 to 1, to 255 or to 65535"
        )
    return Image.fromarray((pixels * (255 / white) + 0.5).astype(np.uint8))


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF tag says."""
    turn = _TURNS.get(_rotation(image))
    return image if turn is None else image.transpose(turn)


def remark_rotation(image: Image.Image) -> None:
    """Say in the log, once, that a picture is rotated by its EXIF tag, which is ignored."""
    global _remarked
    if not _remarked and _rotation(image) != 1:
        _remarked = True
        logger.warning(
            "Some images are rotated by an EXIF tag, such as %s. The tag is ignored, as in the "
            "published preprocessing; exif_rotation: apply turns them upright",
            getattr(image, "filename", "one that was given"),
        )


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _rotation(image: Image.Image) -> int:
    """The EXIF tag of a picture's orientation: 1 is upright, 5 and more change its sides."""
    if image.format == "TIFF":  # Pillow itself turns them, and gives the size accordingly
        return 1
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    # A picture may be whole though its tags are damaged; those turn nothing.
    except Exception:  # noqa: BLE001
        return 1
    return found if found in _TURNS else 1
