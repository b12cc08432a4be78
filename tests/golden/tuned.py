"""The tuning methods: forward, gradients, what is trainable, BatchNorm statistics."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from clipvil_mmf.network import ClipVilNetwork
from tests.golden.clipvil_full import measure_mode
from tests.golden.compare import (
    TINY,
    Golden,
    load_golden,
    load_published,
    published_weights,
)
from tests.golden.published import published_name

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


def measure(name: str, **where: Any) -> dict[str, Tensor]:
    """Everything that is recorded in a method's file; see :func:`measure_mode`."""
    check_trainable(*load_tuned(name))
    return {
        quantity: value
        for mode in ("eval", "train")
        for quantity, value in measure_mode(mode, *load_tuned(name), **where).items()
    }


def check_trainable(network: nn.Module, golden: Golden) -> None:
    """The same parameters learn as in the published code."""
    ours = {published_name(n) for n, p in network.named_parameters() if p.requires_grad}
    recorded = {n for n in golden["trainable_names"].tolist() if not _is_unused(n)}
    if ours != recorded:
        raise AssertionError(f"what is trainable differs: {sorted(ours ^ recorded)}")


def _is_unused(name: str) -> bool:
    return any(part in name for part in _UNUSED)


MEASUREMENTS = {name: partial(measure, name) for name in SECTIONS}
