"""CLIP-ViL with everything trainable: the forward, gradients and BatchNorm statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.checkpoints import published_name
from tests.golden.compare import (
    Deviation,
    close_norms,
    close_outputs,
    gradients,
    inputs,
    load_tiny,
)


def compare() -> list[Deviation]:
    """Everything that is recorded, in both modes."""
    return [row for mode in ("eval", "train") for row in compare_mode(mode)]


def compare_mode(mode: str) -> list[Deviation]:
    """Everything recorded under `eval/` or `train/`."""
    network, golden = load_tiny()
    network.train(mode == "train")
    batch = inputs(golden)
    target = torch.from_numpy(golden["in/target"])
    recorded: dict[str, Tensor] = {}
    handles = [
        network.image_encoder.register_forward_hook(
            lambda module, args, output: recorded.update(grid=output.detach())
        ),
        network.visual_embedding.register_forward_hook(
            lambda module, args, output: recorded.update(visual=output.detach())
        ),
    ]
    output = network(**batch)
    for handle in handles:
        handle.remove()
    loss = F.binary_cross_entropy_with_logits(output.scores, target) * target.shape[1]
    loss.backward()

    text = (batch["input_ids"], batch["input_mask"], batch["segment_ids"])
    with torch.no_grad():
        *_, joint = network.fusion.hidden_states(*text, recorded["visual"])
    ours = {
        "grid": recorded["grid"],
        "visn_fc": recorded["visual"][:, :4],
        "joint": joint,
        "pooled": output.pooled,
        "logits": output.scores,
    }
    if mode == "train":  # stored thinned out
        ours["grid"], ours["joint"] = ours["grid"][:, ::16], ours["joint"][:, ::5]

    rows = [
        close_outputs(f"{mode}/{name}", value, golden[f"{mode}/{name}"])
        for name, value in ours.items()
        if f"{mode}/{name}" in golden.files
    ]
    rows.append(close_norms(f"{mode}/loss", loss.detach().reshape(1), golden[f"{mode}/loss"]))
    rows += gradients(mode, network, golden, published_name)
    rows += [
        close_outputs(name, network.state_dict()[_our_name(network, key)], golden[name])
        for name in golden.files
        if (key := name.removeprefix(f"{mode}/bn/")) != name
    ]
    return rows


def _our_name(network: nn.Module, published: str) -> str:
    return next(name for name in network.state_dict() if published_name(name) == published)
