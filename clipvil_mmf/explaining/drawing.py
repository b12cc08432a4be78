"""A map drawn over its photo."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Colours of a share of the largest value, dark to bright, so that they can be told apart by
# everybody and in print; and how much of the photo they cover.
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_COLOURS = ((20, 10, 60), (115, 20, 110), (205, 55, 75), (250, 145, 20), (250, 240, 130))
_COVER = 0.55


def overlay(photo: Image.Image, values: np.ndarray) -> Image.Image:
    """The photo, dark where the map (height, width) is 0 and bright where it is largest.

    A map that is 0 everywhere leaves the photo as it is.
    """
    photo = photo.convert("RGB")
    most = values.max()
    if not most > 0:
        return photo
    shares = values / most
    colours = [np.interp(shares, _SHARES, channel) for channel in zip(*_COLOURS, strict=True)]
    blended = (1 - _COVER) * np.asarray(photo) + _COVER * np.stack(colours, axis=-1)
    return Image.fromarray(blended.round().astype(np.uint8))


def side_by_side(images: list[Image.Image]) -> Image.Image:
    """One image of several; itself, if it is one."""
    if len(images) == 1:
        return images[0]
    width, height = sum(one.width for one in images), max(one.height for one in images)
    joined, left = Image.new("RGB", (width, height), "white"), 0
    for one in images:
        joined.paste(one, (left, 0))
        left += one.width
    return joined
