"""What an image may be in Python: a file, an address, bytes, an array, a PIL image."""

from __future__ import annotations

import io
from collections.abc import Hashable
from os import PathLike, fspath
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from torch import Tensor

from clipvil_mmf.data.image_files import opened_image
from clipvil_mmf.data.images import BadImageError, Transform
from clipvil_mmf.inference.fetching import FetchError, fetch, is_url

# A PIL image; a path; an http(s) address; the bytes of an image file, or a binary file object with
# them; uint8 pixels: an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a tensor of torch
# (H, W), (1, H, W), (3, H, W) or (4, H, W).
Picture = Image.Image | str | PathLike[str] | bytes | BinaryIO | np.ndarray | Tensor
_BYTES = (bytes, bytearray, memoryview)


def is_picture(value: Any) -> bool:
    """Whether a value is one image, and not several."""
    kinds = (Image.Image, str, PathLike, *_BYTES, np.ndarray, Tensor)
    return isinstance(value, kinds) or hasattr(value, "read")


def picture_key(image: Picture) -> Hashable:
    """Equal for the same image: paths by their text, bytes by content, others by identity.

    The image has to outlive the key.
    """
    if isinstance(image, (str, PathLike)):
        return fspath(image)
    return image if isinstance(image, bytes) else id(image)


def picture_name(image: Any) -> str:
    """An image in a message."""
    if isinstance(image, (str, PathLike)):
        return f"Image {fspath(image)}"
    if isinstance(image, _BYTES):
        return f"The image in {len(image)} bytes"
    if isinstance(image, (np.ndarray, Tensor)):
        return f"The image of shape {tuple(image.shape)}"
    return f"The image {getattr(image, 'name', None) or getattr(image, 'filename', None) or image}"


def read_picture(image: Picture, transform: Transform) -> np.ndarray:
    """An image as the model takes it: (3, H, W) uint8; a ``BadImageError`` whatever is wrong."""
    try:
        if isinstance(image, Image.Image):
            return transform(image)
        if isinstance(image, (np.ndarray, Tensor)):
            return transform(_from_pixels(image))
        with opened_image(_source(image)) as opened:
            opened.load()
            return transform(opened)
    except BadImageError:
        raise
    except FileNotFoundError as error:
        raise BadImageError(
            f"{picture_name(image)} does not exist; expected an image file, an http(s) address, "
            "bytes, an array or a PIL image"
        ) from error
    except FetchError as error:
        raise BadImageError(f"{picture_name(image)} could not be fetched: {error}") from error
    # Damaged files raise whatever their half-read bytes lead to.
    except Exception as error:
        why = str(error) or type(error).__name__
        raise BadImageError(f"{picture_name(image)} cannot be decoded: {why}") from error


def _source(image: Any) -> str | PathLike[str] | BinaryIO:
    """What Pillow is to open."""
    if isinstance(image, str) and is_url(image):
        return io.BytesIO(fetch(image))
    if isinstance(image, _BYTES):
        return io.BytesIO(image)
    if hasattr(image, "read") and not isinstance(image, PathLike):
        if image.seekable():  # it may have been read before
            image.seek(0)
        content = image.read()
        if isinstance(content, str):
            raise ValueError("the file is open as text; open it with mode 'rb'")
        return io.BytesIO(content)
    return image


def _from_pixels(pixels: np.ndarray | Tensor) -> Image.Image:
    """A PIL image of pixels."""
    array, expected = pixels, "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
    if isinstance(pixels, Tensor):
        expected = "(H, W), (1, H, W), (3, H, W) or (4, H, W)"
        array = (pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels).numpy(force=True)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not fits or not array.size:
        raise BadImageError(f"{picture_name(pixels)}: expected one of shape {expected}")
    if array.dtype != np.uint8:
        raise BadImageError(
            f"{picture_name(pixels)} is of {array.dtype}; expected uint8, from 0 to 255"
        )
    return Image.fromarray(array)
