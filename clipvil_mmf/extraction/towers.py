"""The tower that encodes images: one of open_clip's, or that of a model which a run left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.native import read_saved
from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.data.grids import PROJECTED, RAW
from clipvil_mmf.data.images import ImageParams
from clipvil_mmf.fusion import build_fusion
from clipvil_mmf.tuning.method import TOWER
from clipvil_mmf.vision import build_image_encoder, build_visual_embedding, saved_section
from clipvil_mmf.vision.embedding import VisualEmbedding, pool
from clipvil_mmf.vision.encoder import ImageEncoder

PUBLISHED_TAG = "openai"
RANDOM = "random"


class ProjectedTower(nn.Module):
    """A tower and the visual embedding behind it: images -> a grid of visual tokens."""

    def __init__(self, encoder: ImageEncoder, embedding: VisualEmbedding) -> None:
        super().__init__()
        self.encoder, self.embedding = encoder, embedding

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float -> (B, D, h, w)."""
        grid = self.encoder(images)
        tokens = self.embedding(grid).tokens
        size = (pool(grid) if self.embedding.max_pooling else grid).shape[-2:]
        return tokens.transpose(1, 2).unflatten(2, size)


def read_tower(model: str, content: str = RAW) -> tuple[nn.Module, ImageParams | None]:
    """The tower in evaluation mode, and the preprocessing that a run trained it with.

    Args:
        model: a folder or file that ``read_saved`` reads; or a model of open_clip with a tag or a
            file of weights behind a colon, ``RN50x4:openai`` where it is left out. ``random`` in
            its place gives weights that are the same each time, for trials.
        content: projected for what the model's visual embedding makes of the tower's features.

    Raises:
        CheckpointError: the folder or file has no tower, or it cannot be read.
        ConfigError: open_clip has no such model or tag, or a tower alone is to be projected.
    """
    if Path(model).exists():
        return _saved_tower(model, content)
    if content == PROJECTED:
        raise ConfigError(
            f"--content projected: --model {model} is a tower without a visual embedding; expected "
            "a folder of `clipvil import` or of a run"
        )
    name, _, weights = model.partition(":")
    torch.manual_seed(0)
    params = {
        "name": name,
        "pretrained": None if weights == RANDOM else weights or PUBLISHED_TAG,
        "batch_norm": "eval",
        "partial_cells": "drop",
        "frozen": True,
    }
    try:
        encoder = build_image_encoder({"type": "clip_grid", "params": params}, "--model")
    except OSError as error:  # a download that failed
        raise ConfigError(
            f"--model {model}: the weights are unavailable: {error}. Get the file "
            f"yourself and give it: --model {name}:FILE"
        ) from error
    return encoder.eval(), None


def _saved_tower(path: str, content: str) -> tuple[nn.Module, ImageParams]:
    saved = read_saved(path)
    network = saved.description.network
    section = dict(network.get("image_encoder") or {})
    tensors = _part(saved.network, TOWER)
    if not section or not tensors:
        raise CheckpointError(
            f"--model {path}: it has no tower that encodes images; name a model that has."
        )
    section = saved_section(section)  # its weights are in the file
    with torch.device("meta"):
        encoder = build_image_encoder(section, f"{path}: image_encoder")
    parts = [(encoder, tensors)]
    found: nn.Module = encoder
    if content == PROJECTED:
        embedded = _part(saved.network, "visual_embedding.")
        if not embedded:
            raise CheckpointError(
                f"--content projected: --model {path} has no visual embedding; name a model that "
                "has"
            )
        with torch.device("meta"):
            fusion = build_fusion(network["fusion"], f"{path}: fusion")
            embedding = build_visual_embedding(
                network.get("visual_embedding"), encoder, fusion.config, f"{path}: visual_embedding"
            )
        parts.append((embedding, embedded))
        found = ProjectedTower(encoder, embedding)
    try:
        for part, weights in parts:
            part.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"--model {path}: its tower cannot be read: {error}") from error
    images = from_config(ImageParams, saved.description.images, f"{path}: images")
    return found.eval().requires_grad_(False), images


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of a part of the network, under its own names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
