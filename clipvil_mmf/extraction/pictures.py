"""Image files -> the pictures that a tower encodes, and which of their cells show the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from clipvil_mmf.config import check_choice
from clipvil_mmf.data.image_files import image_size
from clipvil_mmf.data.images import (
    BadImageError,
    FitPad,
    ImageParams,
    Stretch,
    Transform,
    as_rgb,
    build_transform,
    decode,
)

# Of CLIP-ViL-Direct (two_step), and of CLIP-ViL (the others).
DEFAULT_SIZES = {"two_step": (600, 1000), "stretch": (384, 640), "fit_pad": (384, 640)}


class Preprocessing(NamedTuple):
    """How images become pictures; plain values, kept in ``features.json``."""

    name: str  # of DEFAULT_SIZES
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    upright: bool  # turned by their EXIF tags

    def transform(self) -> Transform:
        """What makes the pictures."""
        check_choice("--preprocessing", self.name, DEFAULT_SIZES)
        if self.name == "two_step":
            return TwoStep(self.height, self.width, self.upright)
        exif = "apply" if self.upright else "ignore"
        size = [self.height, self.width]
        return build_transform(
            ImageParams(image_transform=self.name, image_size=size, exif_rotation=exif)
        )


class TwoStep(Stretch):
    """The preprocessing of CLIP-ViL-Direct: resized as for a detector, then stretched.

    The short side becomes ``height`` unless the long one would exceed ``width``, both rounded half
    up; then the picture is stretched to ``height`` x ``width``, portrait ones too. Bilinear.
    Source: CLIP-ViL-Direct's extraction for VQA (``ResizeShortestEdge``, then the data loader).
    """

    def picture(self, image: Image.Image) -> Image.Image:
        image = as_rgb(image)
        scale = min(self._height / min(image.size), self._width / max(image.size))
        size = tuple(max(1, int(length * scale + 0.5)) for length in image.size)
        resized = image.resize(size, Image.Resampling.BILINEAR)
        return super().picture(resized)


class Picture(NamedTuple):
    """What one image file gives."""

    row: int  # of the list of images
    pixels: torch.Tensor | None  # (3, H, W) uint8; None for an error
    # left, top, width and height of the image on its canvas in pixels; None where it fills it.
    place: tuple[int, int, int, int] | None = None
    error: str | None = None


class PictureFiles(Dataset[Picture]):
    """The pictures of image files, in the order of ``rows``; an error is handed on as a text."""

    def __init__(
        self, paths: Sequence[str], rows: Sequence[int], preprocessing: Preprocessing
    ) -> None:
        self._paths, self._rows = paths, rows
        self._upright = preprocessing.upright
        self._transform = preprocessing.transform()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Picture:
        row = self._rows[index]
        path = self._paths[row]
        try:
            pixels = decode(path, self._transform)
        except BadImageError as error:
            return Picture(row, None, error=str(error))
        place = None
        if isinstance(self._transform, FitPad):
            place = self._transform.place(*image_size(path, self._upright))
        return Picture(row, torch.from_numpy(np.array(pixels)), place)


def shown_cells(
    place: tuple[int, int, int, int], canvas: tuple[int, int], grid: tuple[int, int]
) -> np.ndarray | None:
    """Which cells show some of an image: (h, w) uint8, 1 for these; None where all do.

    Args:
        place: of the image on its canvas, see ``Picture``.
        canvas: its (H, W) in pixels.
        grid: its (h, w) in cells.
    """
    left, top, width, height = place
    shown = np.zeros(grid, np.uint8)
    rows, columns = (
        slice(
            max(0, math.floor(start * cells / side)),
            math.ceil((start + length) * cells / side),
        )
        for start, length, side, cells in zip(
            (top, left), (height, width), canvas, grid, strict=True
        )
    )
    shown[rows, columns] = 1
    return None if shown.all() else shown
