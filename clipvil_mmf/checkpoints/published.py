"""Fine-tuned checkpoints of CLIP-ViL's authors (`BEST.pth`), in and out.

The map below is explicit and goes from our names to the published ones, so that it reads both
ways. Every published key is either loaded or listed with the reason why it is not; a key that the
map does not know, one that is missing and one of another shape are errors.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

_BERT = "lxrt_encoder.model.bert."
_CLIP = f"{_BERT}encoder.visual_model."

# Our prefix -> published prefix; `{}` stands for a layer's number on both sides.
_NAMES: dict[str, str] = {
    "image_encoder.tower.": f"{_CLIP}visual.",
    "visual_embedding.positions.rows.": f"{_BERT}encoder.visual_pos.x_position_embedding.",
    "visual_embedding.positions.columns.": f"{_BERT}encoder.visual_pos.y_position_embedding.",
    "visual_embedding.projection.": f"{_BERT}encoder.visn_fc.visn_fc.",
    "visual_embedding.norm.": f"{_BERT}encoder.visn_fc.visn_layer_norm.",
    "fusion.embeddings.word.": f"{_BERT}embeddings.word_embeddings.",
    "fusion.embeddings.position.": f"{_BERT}embeddings.position_embeddings.",
    "fusion.embeddings.segment.": f"{_BERT}embeddings.token_type_embeddings.",
    "fusion.embeddings.LayerNorm.": f"{_BERT}embeddings.LayerNorm.",
    "fusion.layers.{}.attention.query.": f"{_BERT}encoder.layer.{{}}.attention.self.query.",
    "fusion.layers.{}.attention.key.": f"{_BERT}encoder.layer.{{}}.attention.self.key.",
    "fusion.layers.{}.attention.value.": f"{_BERT}encoder.layer.{{}}.attention.self.value.",
    "fusion.layers.{}.attention.output.": f"{_BERT}encoder.layer.{{}}.attention.output.dense.",
    "fusion.layers.{}.attention.LayerNorm.": (
        f"{_BERT}encoder.layer.{{}}.attention.output.LayerNorm."
    ),
    "fusion.layers.{}.feed_forward.intermediate.": (
        f"{_BERT}encoder.layer.{{}}.intermediate.dense."
    ),
    "fusion.layers.{}.feed_forward.output.": f"{_BERT}encoder.layer.{{}}.output.dense.",
    "fusion.layers.{}.feed_forward.LayerNorm.": f"{_BERT}encoder.layer.{{}}.output.LayerNorm.",
    "fusion.pooler.": f"{_BERT}pooler.dense.",
    "classifier.hidden.": "logit_fc.0.",
    "classifier.norm.": "logit_fc.2.",
    "classifier.output.": "logit_fc.3.",
}

# Published prefix -> why nothing of ours takes it.
_UNUSED: dict[str, str] = {
    f"{_BERT}encoder.visn_fc.box_fc.": "boxes: CLIP-ViL has none",
    f"{_BERT}encoder.visn_fc.box_layer_norm.": "boxes: CLIP-ViL has none",
    f"{_CLIP}visual.attnpool.": "attention pool: the grid is taken before it",
    f"{_CLIP}visual.proj": "projection to CLIP's joint space: the grid is taken before it",
    f"{_CLIP}transformer.": "CLIP's text tower",
    f"{_CLIP}token_embedding.": "CLIP's text tower",
    f"{_CLIP}positional_embedding": "CLIP's text tower",
    f"{_CLIP}ln_final.": "CLIP's text tower",
    f"{_CLIP}text_projection": "CLIP's text tower",
    f"{_CLIP}logit_scale": "CLIP's contrastive loss",
}

_RULES = [
    (re.compile(re.escape(ours).replace(r"\{\}", r"(\d+)")), theirs)
    for ours, theirs in _NAMES.items()
]


class CheckpointError(ValueError):
    """A checkpoint cannot be read or does not fit; the message names what and what to do."""


@dataclass
class LoadReport:
    """What became of the keys of a published checkpoint."""

    loaded: list[str] = field(default_factory=list)
    unused: dict[str, str] = field(default_factory=dict)  # key -> reason

    def __str__(self) -> str:
        reasons: dict[str, int] = {}
        for reason in self.unused.values():
            reasons[reason] = reasons.get(reason, 0) + 1
        lines = [f"{len(self.loaded)} tensors loaded, {len(self.unused)} not used"]
        return "\n".join(lines + [f"  {count}: {reason}" for reason, count in reasons.items()])


def published_name(name: str) -> str:
    """The published key of one of our parameters or buffers.

    Raises:
        KeyError: the published models have no counterpart.
    """
    for pattern, theirs in _RULES:
        match = pattern.match(name)
        if match:
            return theirs.format(*match.groups()) + name[match.end() :]
    raise KeyError(name)


def read_published(path: str | Path) -> dict[str, Tensor]:
    """Read a `.pth` of tensors (torch's safe loader), without DDP's `module.` prefix.

    Raises:
        CheckpointError: no such file, or no checkpoint that holds tensors alone.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file.")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"{path}: could not be read as a checkpoint of tensors alone (torch.load with "
            f"weights_only=True): {error}"
        ) from error
    if not isinstance(loaded, Mapping) or not all(
        isinstance(value, Tensor) for value in loaded.values()
    ):
        raise CheckpointError(f"{path}: holds no state dict (names -> tensors).")
    return {key.removeprefix("module."): value for key, value in loaded.items()}


def load_published(network: nn.Module, published: Mapping[str, Tensor]) -> LoadReport:
    """Load a published fine-tuned checkpoint into a `ClipVilNetwork` of the same shape.

    Nothing is written unless everything fits.

    Args:
        network: the network to fill; every parameter and buffer of it must be in the checkpoint.
        published: state dict under the published names, as :func:`read_published` gives it.

    Returns:
        The keys that were loaded, and those left over with the reason.

    Raises:
        CheckpointError: a tensor of the network is missing or has another shape, or the
            checkpoint has a key that the map does not know.
    """
    expected = network.state_dict()
    names = {ours: published_name(ours) for ours in expected}
    taken = set(names.values())
    report = LoadReport(loaded=[theirs for theirs in names.values() if theirs in published])
    unknown = []
    for key in published:
        if key in taken:
            continue
        reason = next((why for prefix, why in _UNUSED.items() if key.startswith(prefix)), None)
        if reason is None:
            unknown.append(key)
        else:
            report.unused[key] = reason
    missing = [theirs for theirs in names.values() if theirs not in published]
    misshapen = [
        f"{theirs} is {tuple(published[theirs].shape)}, the network's {ours} is "
        f"{tuple(expected[ours].shape)}"
        for ours, theirs in names.items()
        if theirs in published and published[theirs].shape != expected[ours].shape
    ]
    problems = [
        f"{len(keys)} {what}:\n    " + "\n    ".join(keys)
        for what, keys in (
            ("missing from the checkpoint", missing),
            ("unknown to the map", unknown),
            ("of another shape", misshapen),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(
            "The published checkpoint does not fit the network (same tower, widths, layers and "
            "answers are needed); nothing was loaded.\n  " + "\n  ".join(problems)
        )
    network.load_state_dict({ours: published[theirs] for ours, theirs in names.items()})
    return report


def to_published(network: nn.Module) -> dict[str, Tensor]:
    """The network's state dict under the published names (without the parts it does not have)."""
    return {published_name(ours): value for ours, value in network.state_dict().items()}
