"""CLIP-ViL with everything trainable: the forward, gradients and BatchNorm statistics.

The files of the tuning methods hold the same quantities (`tuned.py`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clipvil_mmf.checkpoints import published_name
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tuning import SideNetwork
from tests.golden.compare import (
    Deviation,
    Golden,
    close_norms,
    close_outputs,
    gradients,
    inputs,
    load_tiny,
)


def compare(**where: Any) -> list[Deviation]:
    """Everything that is recorded, in both modes; see :func:`compare_mode`."""
    return [row for mode in ("eval", "train") for row in compare_mode(mode, *load_tiny(), **where)]


def compare_mode(
    mode: str,
    network: ClipVilNetwork,
    golden: Golden,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Deviation]:
    """Everything recorded under `eval/` or `train/`.

    Args:
        mode: which of them.
        network: with the recorded weights, as they were loaded.
        golden: the file.
        device: where it computes; the file was recorded on a CPU.
        dtype: what it computes in; the file was recorded in float32.
    """
    network.to(device, dtype).train(mode == "train")
    batch = {name: value.to(device) for name, value in inputs(golden).items()}
    batch["images"] = batch["images"].to(dtype)
    target = torch.from_numpy(golden["in/target"]).to(device, dtype)
    recorded: dict[str, Tensor] = {}
    for part, module in (("grid", network.image_encoder), ("visual", network.visual_embedding)):
        module.register_forward_hook(
            lambda module, args, output, part=part: recorded.update({part: output.detach()})
        )
    output = network(**batch)
    loss = F.binary_cross_entropy_with_logits(output.scores, target) * target.shape[1]
    loss.backward()
    rows = gradients(mode, network, golden, published_name)
    state = {published_name(key): value for key, value in network.state_dict().items()}
    rows += [
        close_outputs(recorded_name, state[key], golden[recorded_name])
        for recorded_name in golden.files
        if (key := recorded_name.removeprefix(f"{mode}/bn/")) != recorded_name
    ]
    with torch.no_grad():
        joint = _joint(network, batch, recorded["visual"])
    ours = {
        "grid": recorded["grid"],
        "visn_fc": recorded["visual"][:, :4],
        "joint": joint,
        "pooled": output.pooled,
        "logits": output.scores,
    }
    if mode == "train":  # stored thinned out
        ours["grid"], ours["joint"] = ours["grid"][:, ::16], ours["joint"][:, ::5]
    rows += [
        close_outputs(f"{mode}/{part}", value, golden[f"{mode}/{part}"])
        for part, value in ours.items()
        if f"{mode}/{part}" in golden.files
    ]
    rows.append(close_norms(f"{mode}/loss", loss.detach().reshape(1), golden[f"{mode}/loss"]))
    return rows


def _joint(network: ClipVilNetwork, batch: dict[str, Tensor], visual: Tensor) -> Tensor:
    """The output of all tokens, in the place of the last hidden state."""
    if isinstance(network.tuning, SideNetwork):
        return network.tuning.joint(network, **batch)
    text = (batch["input_ids"], batch["input_mask"], batch["segment_ids"])
    *_, joint = network.fusion.hidden_states(*text, visual)
    return joint
