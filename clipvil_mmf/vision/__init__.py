"""Images (B_img, 3, H, W) -> grid features (B_img, C, h, w) -> visual tokens (B_img, h*w, D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from clipvil_mmf.config import build
from clipvil_mmf.vision.clip_grid import ClipGridConfig, ClipGridEncoder
from clipvil_mmf.vision.embedding import VisualEmbedding, VisualEmbeddingConfig
from clipvil_mmf.vision.positions import GridPositionEmbedding

# An encoder maps images (B_img, 3, H, W) to (B_img, C, h, w) and has `out_channels` = C.
IMAGE_ENCODERS: dict[str, tuple[type, type[nn.Module]]] = {
    "clip_grid": (ClipGridConfig, ClipGridEncoder),
}


def build_image_encoder(
    section: Mapping[str, Any] | None, where: str = "image_encoder"
) -> nn.Module:
    """The image encoder of a `{type: ..., params: {...}}` section."""
    return build(IMAGE_ENCODERS, section, where)


__all__ = [
    "IMAGE_ENCODERS",
    "ClipGridConfig",
    "ClipGridEncoder",
    "GridPositionEmbedding",
    "VisualEmbedding",
    "VisualEmbeddingConfig",
    "build_image_encoder",
]
