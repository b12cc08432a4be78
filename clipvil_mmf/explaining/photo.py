"""From cells of the grid to pixels of the photo."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


class Photo(NamedTuple):
    """A photo, and where it stands on the canvas that the model sees."""

    image: Image.Image  # RGB, upright as the model sees it
    place: tuple[int, int, int, int]  # left, top, width and height on the canvas, in its pixels


class Seen(NamedTuple):
    """The images of a question, encoded once for all questions on them."""

    photos: tuple[Photo, ...]  # as many as the task has
    canvas: tuple[int, int]  # height and width of each picture
    grid: Tensor  # (P, C, h, w), what the image encoder gave
    covered: tuple[int, int]  # height and width in pixels that the grid stands for


def on_photos(cells: Tensor, seen: Seen) -> list[np.ndarray]:
    """Maps of cells -> maps of each photo's pixels, without what the canvas adds.

    Args:
        cells: (P, M, N), of each pass M maps of N = h * w cells row by row, none negative.
        seen: as many photos as passes, or several side by side in the picture of one.

    Returns:
        For each photo (M, height, width) float32, each of sum 1; all 0 where its cells are.
    """
    count = len(seen.photos) // len(cells)
    maps = cells.detach().float().cpu().unflatten(2, tuple(seen.grid.shape[2:]))
    maps = F.interpolate(maps, seen.covered, mode="bilinear", align_corners=False)
    canvases = [maps[number // count] for number in range(len(seen.photos))]
    found = []
    for number, (canvas, photo) in enumerate(zip(canvases, seen.photos, strict=True)):
        left, top, width, height = photo.place
        shift = number % count * seen.canvas[1]
        # What juts out of the canvas, or behind the last whole cell, is as its edge.
        rows = torch.arange(top, top + height).clamp(0, min(seen.canvas[0], canvas.shape[1]) - 1)
        columns = torch.arange(left, left + width).clamp(0, seen.canvas[1] - 1) + shift
        cut = canvas[:, rows][:, :, columns.clamp(max=canvas.shape[2] - 1)]
        size = photo.image.size[::-1]
        sized = F.interpolate(cut[None], size, mode="bilinear", antialias=True)[0].clamp(min=0)
        total = sized.sum((1, 2), keepdim=True)
        found.append((sized / total.clamp(min=torch.finfo(torch.float32).tiny)).numpy())
    return found
