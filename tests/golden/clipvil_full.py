"""CLIP-ViL with everything trainable: the forward, gradients and BatchNorm statistics.

The files of the tuning methods hold the same quantities (`tuned.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clipvil_mmf.fusion import Text, Visual
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tuning import SideNetwork
from tests.golden.compare import Golden, compile_with, gradients, inputs, load_tiny
from tests.golden.published import published_name


def measure(**where: Any) -> dict[str, Tensor]:
    """Everything that is recorded, in both modes; see :func:`measure_mode`."""
    return {
        name: value
        for mode in ("eval", "train")
        for name, value in measure_mode(mode, *load_tiny(), **where).items()
    }


def score_answers(scores: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The published loss of answers: its scale is their number."""
    return {"loss": F.binary_cross_entropy_with_logits(scores, target) * target.shape[1]}


def measure_mode(
    mode: str,
    network: ClipVilNetwork,
    golden: Golden,
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
    backend: str | None = None,
    score: Callable[[Tensor, Tensor], dict[str, Tensor]] = score_answers,
) -> dict[str, Tensor]:
    """What is recorded under `eval/` or `train/`, by a network of ours.

    Args:
        mode: which of them.
        network: with the recorded weights, as they were loaded.
        golden: the file.
        device: where it computes; the file was recorded on a CPU.
        dtype: what it computes in; the file was recorded in float32.
        backend: of torch.compile; None computes as it is.
        score: scores and the recorded target -> `loss`, and what else is recorded of them.
    """
    network.to(device, dtype).train(mode == "train")
    batch = {name: value.to(device) for name, value in inputs(golden).items()}
    batch["images"] = batch["images"].to(dtype)
    target = torch.from_numpy(golden["in/target"]).to(device, dtype)
    seen: dict[str, Any] = {}
    for part, module in (("grid", network.image_encoder), ("visual", network.visual_embedding)):
        module.register_forward_hook(
            lambda module, args, output, part=part: seen.update({part: output})
        )
    compile_with(network, backend)
    output = network(**batch)
    scored = score(output.scores, target)
    scored["loss"].backward()
    state = {published_name(key): value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        joint = _joint(network, batch, seen["visual"])
    ours = {
        "grid": seen["grid"],
        "visn_fc": seen["visual"].tokens[:, :4],
        "joint": joint,
        "pooled": output.pooled,
        "logits": output.scores,
        **{part: torch.atleast_1d(value) for part, value in scored.items()},
    }
    if mode == "train":  # stored thinned out
        ours["grid"], ours["joint"] = ours["grid"][:, ::16], ours["joint"][:, ::5]
    statistics = {
        name: state[key]
        for name in golden.files
        if (key := name.removeprefix(f"{mode}/bn/")) != name
    }
    outputs = {f"{mode}/{part}": value.detach() for part, value in ours.items()}
    return {
        **gradients(mode, network, golden, published_name),
        **statistics,
        **{name: value for name, value in outputs.items() if name in golden.files},
    }


def _joint(network: ClipVilNetwork, batch: dict[str, Tensor], visual: Visual) -> Tensor:
    """The output of all tokens, in the place of the last hidden state."""
    text = Text(batch["input_ids"], batch["input_mask"], batch["segment_ids"])
    if isinstance(network.tuning, SideNetwork):
        visual = network.encode_visual(batch["images"]).select(batch["image_index"])
        return network.tuning.joint(network.fusion, text, visual)
    *_, joint = network.fusion.hidden_states(text, visual)
    return joint
