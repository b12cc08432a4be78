"""The tuning methods: forward, gradients, what learns, BatchNorm statistics."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.checkpoints import published_name
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tuning import SideNetwork
from tests.golden.compare import (
    TINY,
    Deviation,
    Golden,
    close_norms,
    close_outputs,
    gradients,
    inputs,
    load_golden,
    load_published,
    published_weights,
)

# Golden file -> the section `tuning` that it was recorded with.
SECTIONS: dict[str, dict[str, Any]] = {
    "unipt": {"method": "unipt", "params": {"reduction_factor": 2}},
    "lst": {"method": "ladder", "params": {"reduction_factor": 2}},
    "sherl": {"method": "sherl", "params": {"reduction_factor": 2}},
    "lora": {"method": "lora", "params": {"dim": 4, "alpha": 32, "dropout": 0.0}},
    "adapter": {"method": "adapter", "params": {"reduction_factor": 8}},
    "adapter_vis": {
        "method": "adapter",
        "params": {"reduction_factor": 8, "gate": True, "visual": True},
    },
}
# What the published code counts among the trainable, though CLIP-ViL has no use for it.
_UNUSED = ("box_fc", "box_layer_norm", "ln_final")


def load_tuned(name: str) -> tuple[ClipVilNetwork, Golden]:
    """The tiny CLIP-ViL under a tuning method, with the golden weights, and the golden file."""
    golden = load_golden(name)
    network = ClipVilNetwork.from_config(**TINY, tuning=SECTIONS[name])
    load_published(network, published_weights(golden))
    return network, golden


def compare(name: str) -> list[Deviation]:
    """Everything that is recorded in a method's file."""
    check_trainable(*load_tuned(name))
    return [row for mode in ("eval", "train") for row in compare_mode(name, mode)]


def check_trainable(network: nn.Module, golden: Golden) -> None:
    """The same parameters learn as in the published code."""
    ours = {published_name(n) for n, p in network.named_parameters() if p.requires_grad}
    recorded = {n for n in golden["trainable_names"].tolist() if not _is_unused(n)}
    if ours != recorded:
        raise AssertionError(f"what learns differs: {sorted(ours ^ recorded)}")


def _is_unused(name: str) -> bool:
    return any(part in name for part in _UNUSED)


def compare_mode(name: str, mode: str) -> list[Deviation]:
    """Everything recorded under `eval/` or `train/`."""
    network, golden = load_tuned(name)
    network.train(mode == "train")
    batch = inputs(golden)
    target = torch.from_numpy(golden["in/target"])
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


COMPARISONS = {name: partial(compare, name) for name in SECTIONS}
