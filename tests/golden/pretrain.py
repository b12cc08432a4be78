"""The pre-training heads on CLIP-ViL: losses, answer scores, states, norms of all gradients.

`pretrain` has all visual tokens and three losses, `pretrain_subsample` a sample of the tokens, and
the losses of either stage.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clipvil_mmf.checkpoints.published.layouts import Kind, Layout
from clipvil_mmf.fusion import Text, Visual
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

# Losses of a stage.
STAGES = {"stage1": 2, "stage2": 3}


def published(name: str) -> str:
    """The published name of one of our parameters in a pre-trained checkpoint."""
    return Layout(Kind.pretrained).in_file(published_name(name))


def load(answers: bool = True) -> tuple[PretrainingNetwork, Golden]:
    """The tiny network with the golden weights, and the golden file."""
    golden = load_golden("pretrain")
    network = PretrainingNetwork.from_config(**TINY | {"num_labels": TINY["num_labels"] * answers})
    backbone, _ = load_tiny()
    weights = {
        published(name): value
        for name, value in backbone.state_dict().items()
        if not name.startswith("classifier.")
    }
    heads = published_weights(golden)
    kept = {name: heads[name] for name in heads if answers or not name.startswith("answer_head.")}
    load_named(network, {**weights, **kept}, published)
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
    """Everything that is recorded of all tokens; there is no `train/`."""
    network, golden = load()
    network.to(dtype).eval()
    compile_with(network, backend)
    batch = pretraining_inputs(golden)
    output = network(**{**batch, "images": batch["images"].to(dtype)})
    output.losses.total.backward()
    return {
        "eval/losses": torch.stack(output.losses)[None].detach(),
        "eval/total": output.losses.total.reshape(1).detach(),
        "eval/answer_score": output.scores.detach(),
        **gradients("eval", network, golden, published),
    }


def measure_subsample(
    dtype: torch.dtype = torch.float64, backend: str | None = None
) -> dict[str, Tensor]:
    """Everything that is recorded of the drawn tokens."""
    golden, ours = load_golden("pretrain_subsample"), {}
    for stage, count in STAGES.items():
        for mode in ("eval", "train"):
            ours |= _stage(f"{stage}/{mode}", count, golden, dtype, backend)
    return ours


def _stage(
    where: str, count: int, golden: Golden, dtype: torch.dtype, backend: str | None
) -> dict[str, Tensor]:
    network, _ = load(answers=count == 3)
    network.to(dtype).train(where.endswith("train"))
    embedding = network.visual_embedding
    embedding.train()  # the published code draws in evaluation, too; there is no dropout here
    drawn = torch.from_numpy(golden["in/sub_index"]).long()
    embedding.sampled_tokens = drawn.shape[1]
    embedding.draw_cells = lambda *_: drawn
    seen: list[Visual] = []
    embedding.register_forward_hook(lambda module, args, output: seen.append(output))
    compile_with(network, backend)
    batch = pretraining_inputs(golden)
    output = network(**{**batch, "images": batch["images"].to(dtype)})
    output.losses.total.backward()
    state = {published(name): value for name, value in network.state_dict().items()}
    statistics = {
        name: state[key]
        for name in golden.files
        if (key := name.removeprefix(f"{where}/bn/")) != name
    }
    text = Text(batch["input_ids"], batch["input_mask"], batch["segment_ids"])
    with torch.no_grad():
        *_, joint = network.fusion.hidden_states(text, seen[0])
    words = batch["input_ids"].shape[1]
    found = {
        "total": output.losses.total.reshape(1),
        "losses": torch.stack(output.losses)[None, :count],
        "lang": joint[:, :words],
        "visn": joint[:, words:],
        "pooled": network.fusion.pool(joint),
    }
    if count == 3:
        found["answer_score"] = output.scores
    return {
        **{f"{where}/{name}": value.detach() for name, value in found.items()},
        **statistics,
        **gradients(where, network, golden, published),
    }
