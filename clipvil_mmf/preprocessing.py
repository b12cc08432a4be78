"""Pixels (uint8) -> a model's input, on the device where the batch is.

Training, evaluation, prediction and ``from_pretrained`` alike. CLIP's statistics of images, which
data and checkpoints share, are those of openai/CLIP, clip/clip.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# Of the red, green and blue channel, in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def pixel_statistics(mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(2, 3) float32: mean and standard deviation of pixels from 0 to 255, as batches hold them.

    ``mean`` and ``std`` are of values in [0, 1].
    """
    return torch.tensor([list(mean), list(std)]) * 255


def normalize(
    pixels: Tensor,
    statistics: Tensor,
    sizes: Tensor | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Make a model's input of pictures.

    Args:
        pixels: (B, 3, H, W) uint8, in either memory format.
        statistics: (2, 3) float32, see :func:`pixel_statistics`.
        sizes: (B, 2) int64, height and width of each picture in the upper left of its canvas; what
            lies outside becomes 0. None where all fill it.
        memory_format: of the result.

    Returns:
        (B, 3, H, W) float32, ``(pixels - mean) / std``.
    """
    mean, std = statistics.view(2, 3, 1, 1)
    images = torch.empty(
        pixels.shape, dtype=torch.float32, device=pixels.device, memory_format=memory_format
    )
    images.copy_(pixels).sub_(mean).div_(std)
    if sizes is None:
        return images
    inside = [
        torch.arange(length, device=pixels.device) < size[:, None]
        for length, size in zip(pixels.shape[2:], sizes.to(pixels.device).unbind(1), strict=True)
    ]
    return images.masked_fill_(~(inside[0][:, None, :, None] & inside[1][:, None, None, :]), 0)


def images_of(
    batch: Mapping[str, Any],
    rows: Tensor | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """The normalised images (B_img, 3, H, W) of a batch, or those of ``rows`` (n,) int64.

    Images of a floating type are normalised already.
    """
    images, sizes = batch["images"], batch.get("image_sizes")
    if rows is not None:
        images, sizes = images[rows], None if sizes is None else sizes[rows]
    if images.is_floating_point():
        return images
    return normalize(images, batch["pixel_statistics"], sizes, memory_format)
