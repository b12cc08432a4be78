"""The pre-training heads on CLIP-ViL: three losses, answer scores, norms of all gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from clipvil_mmf.checkpoints.published.layouts import Kind, Layout
from clipvil_mmf.pretraining import PretrainingNetwork
from tests.golden.compare import (
    TINY,
    Golden,
    compile_with,
    gradients,
    inputs,
    load_golden,
    load_named,
    load_tiny,
    published_weights,
    text_inputs,
)
from tests.golden.published import published_name


def published(name: str) -> str:
    """The published name of one of our parameters in a pre-trained checkpoint."""
    return Layout(Kind.pretrained).in_file(published_name(name))


def load() -> tuple[PretrainingNetwork, Golden]:
    """The tiny network with the golden weights, and the golden file."""
    golden = load_golden("pretrain")
    network = PretrainingNetwork.from_config(**TINY)
    backbone, _ = load_tiny()
    weights = {
        published(name): value
        for name, value in backbone.state_dict().items()
        if not name.startswith("classifier.")
    }
    load_named(network, {**weights, **published_weights(golden)}, published)
    return network, golden


def pretraining_inputs(golden: Golden) -> dict[str, Tensor]:
    """The network's arguments; the images are those of clipvil_full."""
    labels = {
        "word_labels": "in/masked_lm_labels",
        "matching_labels": "in/matched_label",
        "answer_labels": "in/ans",
    }
    return {
        "images": inputs(load_golden("clipvil_full"))["images"],
        **text_inputs(golden),
        **{ours: torch.from_numpy(golden[theirs]).long() for ours, theirs in labels.items()},
    }


def measure(dtype: torch.dtype = torch.float64, backend: str | None = None) -> dict[str, Tensor]:
    """Everything that is recorded; there is no `train/`."""
    network, golden = load()
    network.to(dtype).eval()
    compile_with(network, backend)
    batch = pretraining_inputs(golden)
    losses, scores = network(**{**batch, "images": batch["images"].to(dtype)})
    losses.total.backward()
    return {
        "eval/losses": torch.stack(losses)[None].detach(),
        "eval/total": losses.total.reshape(1).detach(),
        "eval/answer_score": scores.detach(),
        **gradients("eval", network, golden, published),
    }
