"""Regions in the place of images: LXMERT's embedding, sizes, masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion import JointConfig
from clipvil_mmf.vision import (
    RegionEmbedding,
    RegionFeatures,
    Regions,
    build_image_encoder,
    build_visual_embedding,
)


def encoder(**params: Any) -> RegionFeatures:
    return build_image_encoder({"type": "region_features", "params": params})


def regions(images: int = 2, count: int = 5, size: int = 6) -> Regions:
    return Regions(torch.randn(images, count, size), torch.rand(images, count, 4))


def test_embedding_averages_features_and_boxes() -> None:
    module = RegionEmbedding(6, 4, 8, dropout=0.0)
    found = regions()
    features = module.norm(module.projection(found.features))
    boxes = module.box_norm(module.box_projection(found.boxes))
    torch.testing.assert_close(module(found).tokens, (features + boxes) / 2)


def test_features_alone() -> None:
    """--drop_boxes of the published code."""
    module = build_visual_embedding(
        None, encoder(feature_size=6, boxes=False), JointConfig(hidden_size=24)
    ).eval()
    found = regions()
    torch.testing.assert_close(module(found).tokens, module.norm(module.projection(found.features)))
    assert not any("box" in name for name in module.state_dict())


def test_embedding_drops_out_in_training_only() -> None:
    module = RegionEmbedding(6, 4, 8, dropout=0.5)
    found = regions()
    assert not torch.equal(module(found).tokens, module(found).tokens)
    module.eval()
    assert torch.equal(module(found).tokens, module(found).tokens)


def test_encoder_gives_the_regions_back() -> None:
    found = regions()
    assert encoder(feature_size=6)(found) is found
    assert encoder().out_channels == 2048 and encoder().box_size == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(2, 5, 7)}, r"features have shape \(2, 5, 7\).*feature_size"),
        ({"boxes": torch.zeros(2, 5, 5)}, r"boxes have shape \(2, 5, 5\).*box_size"),
        ({"boxes": torch.zeros(2, 4, 4)}, r"boxes have shape \(2, 4, 4\)"),
        ({"mask": torch.ones(2, 4)}, r"mask has shape \(2, 4\), expected \(2, 5\)"),
    ],
)
def test_other_shapes_are_refused(change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(feature_size=6)(regions()._replace(**change))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"feature_size": 0}, r"image_encoder\.params\.feature_size: got 0, expected at least 1"),
        ({"box_size": 0}, r"params\.box_size: got 0"),
        ({"name": "RN50"}, r"params\.name: unknown key"),
    ],
)
def test_bad_configurations(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        encoder(**params)


@pytest.mark.parametrize("section", [None, {}])
def test_the_embedding_follows_the_encoder(section: dict[str, Any] | None) -> None:
    fusion = JointConfig(hidden_size=24, hidden_dropout_prob=0.3)
    embedding = build_visual_embedding(section, encoder(feature_size=6), fusion)
    assert isinstance(embedding, RegionEmbedding) and embedding.dropout.p == 0.3
    assert embedding(regions()).tokens.shape == (2, 5, 24)


def test_a_grids_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^visual_embedding\.pos_num: region features have"):
        build_visual_embedding({"pos_num": 25}, encoder(), JointConfig())
