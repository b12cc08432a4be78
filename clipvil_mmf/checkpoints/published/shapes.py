"""The sections of a yaml file that a checkpoint's network has, read off its tensors' shapes.

What shapes cannot say takes the published value: 64 channels an attention head, the dropout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clipvil_mmf.checkpoints import CheckpointError

_HEAD_WIDTH = 64
# Bottleneck blocks and stem width of OpenAI's ResNets -> name.
_RESNETS: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 4, 6, 3), 64): "RN50",
    ((3, 4, 23, 3), 64): "RN101",
    ((4, 6, 10, 6), 80): "RN50x4",
    ((6, 8, 18, 8), 96): "RN50x16",
    ((3, 15, 36, 10), 128): "RN50x64",
}

# Side network -> its last matrix, from its width to the fusion's.
_SIDES: dict[str, str] = {
    "unipt": "tuning.output.weight",
    "ladder": "tuning.up.weight",
    "sherl": "tuning.out.weight",
}

Shapes = Mapping[str, tuple[int, ...]]


def infer_network(tensors: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """Describe the network that fits these tensors.

    Args:
        tensors: under our names; of the whole network, or of a tower or a BERT alone.
        source: the file, for the error.

    Returns:
        The sections of the parts that are there: ``image_encoder``, ``visual_embedding``,
        ``fusion``, ``classifier``, ``tuning``, and ``num_labels``.

    Raises:
        CheckpointError: the shapes do not say it (a ViT tower): a configuration must be given.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    network: dict[str, Any] = {}
    try:
        if _some(shapes, "image_encoder.tower."):
            network["image_encoder"] = {"type": "clip_grid", "params": _tower(shapes)}
        elif _some(shapes, "visual_embedding.box_projection."):
            _, features = _shape(shapes, "visual_embedding.projection.weight")
            _, box = _shape(shapes, "visual_embedding.box_projection.weight")
            params = {"feature_size": features, "box_size": box}
            network["image_encoder"] = {"type": "region_features", "params": params}
        if _some(shapes, "visual_embedding.positions."):
            rows, _ = _shape(shapes, "visual_embedding.positions.rows.weight")
            network["visual_embedding"] = {"pos_num": rows}
        if _some(shapes, "fusion."):
            network["fusion"] = _fusion(shapes)
        if _some(shapes, "classifier."):
            answers, hidden = _shape(shapes, "classifier.output.weight")
            network["classifier"] = {"type": "mlp", "params": {"hidden_size": hidden}}
            network["num_labels"] = answers
    except KeyError as error:
        raise CheckpointError(
            f"{source}: the network cannot be told by the shapes, because {error.args[0]}. Give "
            "its image_encoder, visual_embedding, fusion and classifier in a yaml file: --config"
        ) from error
    tuning = infer_tuning(shapes)
    return network if tuning is None else {**network, "tuning": tuning}


def infer_tuning(shapes: Shapes) -> dict[str, Any] | None:
    """The section `tuning` of the method that added some of these tensors; None if none did.

    LoRA's scale and dropout leave no trace in a checkpoint; they are the published ones.
    """
    for method, part in _SIDES.items():
        if part in shapes:
            wide, narrow = shapes[part]
            return {"method": method, "params": {"reduction_factor": wide // narrow}}
    down = shapes.get("tuning.attention.0.down.weight")
    if down is not None:
        params = {
            "reduction_factor": down[1] // down[0],
            "gate": "tuning.attention.0.gate" in shapes,
            "visual": _some(shapes, "tuning.visual."),
        }
        return {"method": "adapter", "params": params}
    factors = (shape for name, shape in shapes.items() if ".lora_A." in name)
    factor = next(factors, None)
    if factor is not None:
        return {"method": "lora", "params": {"dim": factor[0], "alpha": 32, "dropout": 0.1}}
    return None


def _tower(shapes: Shapes) -> dict[str, Any]:
    prefix = "image_encoder.tower."
    blocks = [_count(shapes, rf"{prefix}layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)]
    if not all(blocks):
        raise KeyError("its tower is not a ResNet")
    width = _shape(shapes, f"{prefix}conv3.weight")[0]
    name = _RESNETS.get((tuple(blocks), width))
    return {"name": name} if name else {"tower": {"layers": blocks, "width": width}}


def _fusion(shapes: Shapes) -> dict[str, Any]:
    words, width = _shape(shapes, "fusion.embeddings.word.weight")
    cross = _count(shapes, r"fusion\.cross_layers\.(\d+)\.")
    if cross:
        depths = {
            "language_layers": _count(shapes, r"fusion\.language_layers\.(\d+)\."),
            "cross_layers": cross,
            "visual_layers": _count(shapes, r"fusion\.visual_layers\.(\d+)\."),
        }
        first = "fusion.cross_layers.0.language."
    else:
        depths = {"num_hidden_layers": _count(shapes, r"fusion\.layers\.(\d+)\.")}
        first = "fusion.layers.0."
    params = {
        "hidden_size": width,
        **depths,
        "num_attention_heads": max(1, width // _HEAD_WIDTH),
        "intermediate_size": _shape(shapes, f"{first}feed_forward.intermediate.weight")[0],
        "vocab_size": words,
        "max_position_embeddings": _shape(shapes, "fusion.embeddings.position.weight")[0],
        "type_vocab_size": _shape(shapes, "fusion.embeddings.segment.weight")[0],
    }
    return {"type": "cross_modal" if cross else "joint", "params": params}


def _some(shapes: Shapes, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in shapes)


def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    if name not in shapes:
        raise KeyError(f"it lacks {name}")
    return shapes[name]


def _count(shapes: Shapes, pattern: str) -> int:
    found = [re.match(pattern, name) for name in shapes]
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)
