"""The tower that encodes images: one of open_clip's, or that of a model which a run left."""

from __future__ import annotations

from pathlib import Path

import torch

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.native import read_saved
from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.data.images import ImageParams
from clipvil_mmf.tuning.method import TOWER
from clipvil_mmf.vision import ImageEncoder, build_image_encoder

PUBLISHED_TAG = "openai"
RANDOM = "random"


def read_tower(model: str) -> tuple[ImageEncoder, ImageParams | None]:
    """The tower in evaluation mode, and the preprocessing that a run trained it with.

    Args:
        model: a folder or file that ``read_saved`` reads; or a model of open_clip with a tag or a
            file of weights behind a colon, ``RN50x4:openai`` where it is left out. ``random`` in
            its place gives weights that are the same each time, for trials.

    Raises:
        CheckpointError: the folder or file has no tower, or it cannot be read.
        ConfigError: open_clip has no such model or tag.
    """
    if Path(model).exists():
        return _saved_tower(model)
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


def _saved_tower(path: str) -> tuple[ImageEncoder, ImageParams]:
    saved = read_saved(path)
    section = dict(saved.description.network.get("image_encoder") or {})
    tensors = {
        name.removeprefix(TOWER): tensor
        for name, tensor in saved.network.items()
        if name.startswith(TOWER)
    }
    if not section or not tensors:
        raise CheckpointError(
            f"--model {path}: it has no tower that encodes images; name a model that has."
        )
    params = dict(section.get("params") or {})
    if "pretrained" in params:  # its weights are in the file
        params["pretrained"] = None
    with torch.device("meta"):
        encoder = build_image_encoder({**section, "params": params}, f"{path}: image_encoder")
    try:
        encoder.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"--model {path}: its tower cannot be read: {error}") from error
    images = from_config(ImageParams, saved.description.images, f"{path}: images")
    return encoder.eval().requires_grad_(False), images
