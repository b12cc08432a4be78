"""Vision towers of the hub: CLIP models in the layouts of open_clip and of transformers."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipvil_mmf.config import ConfigError
from clipvil_mmf.preprocessing import CLIP_MEAN, CLIP_STD
from clipvil_mmf.sharing.repositories import HubError, Repository, fetch, no_safetensors

logger = logging.getLogger(__name__)

# A layout's configuration -> its weights. These are safetensors alone.
_LAYOUTS = {
    "open_clip_config.json": "open_clip_model.safetensors",
    "config.json": "model.safetensors",
}
# transformers' names of a vision tower's parts -> open_clip's.
_VISION = "vision_model."
_PARTS = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm": "ln_pre",  # so spelled there
    "post_layernorm": "ln_post",
}
_BLOCK = "encoder.layers."
_PARTS_OF_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_INPUTS = tuple(f"self_attn.{part}_proj" for part in "qkv")


class HubTower(NamedTuple):
    """A tower of a repository."""

    tower: dict[str, Any]  # what the key `tower` of an image encoder says to build it
    weights: Path  # of the CLIP model


def fetch_tower(repository: Repository) -> HubTower:
    """What a repository says of its CLIP model's vision tower, and the file of its weights.

    Raises:
        ConfigError: the hub does not give it, or it is not a CLIP model with safetensors.
    """
    try:
        folder = fetch(repository, [*_LAYOUTS, "preprocessor_config.json"])
        layouts = [name for name in _LAYOUTS if (folder / name).is_file()]
        for name in layouts:  # there may be both, and safetensors of one alone
            weights = fetch(repository, [_LAYOUTS[name]]) / _LAYOUTS[name]
            if weights.is_file():
                return HubTower(_described(folder, name, repository), weights)
        if not layouts:
            raise HubError(
                f"{repository} has none of {', '.join(_LAYOUTS)}: it is not a CLIP model"
            )
        raise HubError(no_safetensors(repository, tuple(_LAYOUTS.values())))
    except HubError as error:
        raise ConfigError(f"pretrained: {error}") from error


def _described(folder: Path, name: str, repository: Repository) -> dict[str, Any]:
    config = _read(folder / name, repository)
    if name == "config.json":
        images = folder / "preprocessor_config.json"
        given = _read(images, repository) if images.is_file() else {}
        _check_statistics(repository, given.get("image_mean"), given.get("image_std"))
        return _of_transformers(config, repository)
    model, given = config.get("model_cfg") or {}, config.get("preprocess_cfg") or {}
    _check_statistics(repository, given.get("mean"), given.get("std"))
    vision = model.get("vision_cfg")
    if not isinstance(vision, Mapping):
        raise HubError(f"{repository}: {name} has no model_cfg.vision_cfg")
    return {"vision_cfg": dict(vision), "quick_gelu": bool(model.get("quick_gelu", False))}


def _read(file: Path, repository: Repository) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HubError(f"{repository}: {file.name} is not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise HubError(f"{repository}: {file.name} holds a {type(found).__name__}, not an object")
    return found


def _check_statistics(repository: Repository, mean: Any, std: Any) -> None:
    """Say where the images of a model are normalised otherwise than CLIP's."""
    if (mean, std) == (None, None) or (list(mean), list(std)) == ([*CLIP_MEAN], [*CLIP_STD]):
        return
    logger.warning(
        "%s was trained on images of mean %s and std %s: set dataset_config.<dataset>.mean and std",
        *(repository, mean, std),
    )


def _of_transformers(config: Mapping[str, Any], repository: Repository) -> dict[str, Any]:
    """`tower` of a ``CLIPModel`` or a ``CLIPVisionModel``, whose defaults are transformers'."""
    kind = config.get("model_type")
    if kind not in ("clip", "clip_vision_model"):
        raise HubError(f"{repository} is a model of type {kind!r}; expected clip")
    given = config if kind == "clip_vision_model" else config.get("vision_config") or {}
    width = given.get("hidden_size", 768)
    activation, epsilon = given.get("hidden_act", "quick_gelu"), given.get("layer_norm_eps", 1e-5)
    if activation not in ("gelu", "quick_gelu") or epsilon != 1e-5:
        raise HubError(
            f"{repository}: its hidden_act is {activation} and its layer_norm_eps {epsilon}; "
            "expected gelu or quick_gelu, and 1e-05"
        )
    vision = {
        "layers": given.get("num_hidden_layers", 12),
        "width": width,
        "head_width": width // given.get("num_attention_heads", 12),
        "mlp_ratio": given.get("intermediate_size", 3072) / width,
        "patch_size": given.get("patch_size", 32),
        "image_size": given.get("image_size", 224),
    }
    return {"vision_cfg": vision, "quick_gelu": activation == "quick_gelu"}


def as_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of transformers' CLIP under open_clip's names: its vision tower; others as they are.

    What has no place in that tower, CLIP's text side above all, is left out.
    """
    alone = next(iter(_PARTS)) in tensors  # as newer versions write a tower by itself
    start = "" if alone else _VISION
    if not alone and not any(name.startswith(_VISION) for name in tensors):
        return dict(tensors)
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "visual_projection.weight":
            found["visual.proj"] = tensor.T
        inner = name.removeprefix(start)
        if not name.startswith(start) or inner == "embeddings.position_ids":
            continue
        if not inner.startswith(_BLOCK):
            found[f"visual.{_renamed(inner, _PARTS)}"] = tensor
            continue
        number, _, rest = inner.removeprefix(_BLOCK).partition(".")
        block = f"visual.transformer.resblocks.{number}."
        part, _, kind = rest.rpartition(".")
        if part not in _INPUTS:
            found[block + _renamed(rest, _PARTS_OF_BLOCK)] = tensor
        elif part == _INPUTS[0]:
            of_block = [f"{start}{_BLOCK}{number}.{one}.{kind}" for one in _INPUTS]
            if all(one in tensors for one in of_block):
                found[f"{block}attn.in_proj_{kind}"] = torch.cat([tensors[one] for one in of_block])
    return found


def _renamed(name: str, parts: Mapping[str, str]) -> str:
    for theirs, ours in parts.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return ours + name[len(theirs) :]
    return name
