"""Images -> features -> visual tokens (B_img, N, D).

Images (B_img, 3, H, W) have a grid of features (B_img, C, h, w), and N = h*w. A `Grid` and
`Regions` have their features with them; of `Regions` N is the number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from clipvil_mmf.config import ConfigError, build, from_config
from clipvil_mmf.fusion.config import FusionConfig
from clipvil_mmf.registry import Registry
from clipvil_mmf.vision.clip_grid import ClipGridConfig, ClipGridEncoder
from clipvil_mmf.vision.clip_patches import ClipPatches, TokenEmbedding
from clipvil_mmf.vision.embedding import VisualEmbedding, VisualEmbeddingConfig
from clipvil_mmf.vision.encoder import ImageEncoder
from clipvil_mmf.vision.grid_features import (
    Grid,
    GridEmbedding,
    GridFeatures,
    GridFeaturesConfig,
)
from clipvil_mmf.vision.positions import GridPositionEmbedding
from clipvil_mmf.vision.regions import (
    RegionEmbedding,
    RegionFeatures,
    RegionFeaturesConfig,
    Regions,
)

# Name -> (dataclass of its `params`, an ImageEncoder).
IMAGE_ENCODERS: Registry[tuple[type, type[ImageEncoder]]] = Registry(
    "image encoder",
    {
        "clip_grid": (ClipGridConfig, ClipGridEncoder),
        "clip_patches": (ClipGridConfig, ClipPatches),
        "grid_features": (GridFeaturesConfig, GridFeatures),
        "region_features": (RegionFeaturesConfig, RegionFeatures),
    },
    ImageEncoder,
    given=["forward"],
    attributes=["out_channels"],
)


def build_image_encoder(
    section: Mapping[str, Any] | None, where: str = "image_encoder"
) -> ImageEncoder:
    """The image encoder of a `{type: ..., params: {...}}` section."""
    return build(IMAGE_ENCODERS, section, where)


def saved_section(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section of an image encoder whose weights are in a model's file beside it."""
    if section.get("params") is None or section.get("type") not in IMAGE_ENCODERS:
        return dict(section)
    _, kind = IMAGE_ENCODERS[section["type"]]
    return {**section, "params": kind.saved_params(section["params"])}


def build_visual_embedding(
    section: Mapping[str, Any] | None,
    encoder: ImageEncoder,
    fusion: FusionConfig,
    where: str = "visual_embedding",
) -> nn.Module:
    """The embedding that makes a fusion's visual tokens of what an image encoder gives.

    Its section is `{pos_num: ...}` for a grid; empty or None for the published values.

    Raises:
        ConfigError: an unknown key or value; any key at all for regions and patches.
    """
    shared = {
        "hidden_size": fusion.hidden_size,
        "dropout": fusion.hidden_dropout_prob,
        "initializer_range": fusion.initializer_range,
    }
    if isinstance(encoder, RegionFeatures):
        if section:
            raise ConfigError(
                f"{where}.{next(iter(section))}: region features have their positions in their "
                f"boxes; leave {where} out or set it to null."
            )
        box_size = encoder.box_size if encoder.boxes else None
        return RegionEmbedding(encoder.out_channels, box_size, **shared)
    if isinstance(encoder, ClipPatches):
        if section:
            raise ConfigError(
                f"{where}.{next(iter(section))}: the patches have the tower's own positions and "
                f"width; leave {where} out or set it to null."
            )
        return TokenEmbedding()
    config = from_config(VisualEmbeddingConfig, section, where)
    if not isinstance(encoder, GridFeatures):
        return VisualEmbedding(config, encoder.out_channels, **shared)
    embedding = GridEmbedding(config, encoder.out_channels, **shared)
    embedding.is_projected = encoder.gives_tokens
    return embedding


__all__ = [
    "IMAGE_ENCODERS",
    "ClipGridConfig",
    "ClipGridEncoder",
    "Grid",
    "GridEmbedding",
    "GridFeatures",
    "GridFeaturesConfig",
    "GridPositionEmbedding",
    "ImageEncoder",
    "RegionEmbedding",
    "RegionFeatures",
    "RegionFeaturesConfig",
    "Regions",
    "VisualEmbedding",
    "VisualEmbeddingConfig",
    "build_image_encoder",
    "build_visual_embedding",
    "saved_section",
]
