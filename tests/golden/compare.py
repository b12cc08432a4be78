"""What the comparisons with golden files share: the tiny network, tolerances, deviations.

The golden numbers are those of the published code; see each file's `info`. Stored integers are
float32. Tolerances: outputs 2e-5 absolute, gradients 1e-6 + 2e-4 of the tensor's maximum, norms and
losses 1e-5 relative. Each file has its comparison in a module of its own, listed in `files.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clipvil_mmf.checkpoints import load_published
from clipvil_mmf.network import ClipVilNetwork

GOLDEN = Path(__file__).parent

OUTPUT_ATOL = 2e-5
GRAD_ATOL, GRAD_RTOL_OF_MAX = 1e-6, 2e-4
NORM_RTOL = 1e-5
NORM_ATOL = 1e-9  # for norms that are exactly zero
# Differences of nearly equal sums: against float64, the recorded norms are 3e-7 and 9e-8 off, which
# is more than NORM_RTOL of them. They get what a gradient's elements get.
CANCELLING = (".guide_block.fc_attn.weight", ".guide_block.fc_attn.bias")
# Zero in theory, float noise in practice: the bias of an attention's keys, or of UniPT's gate,
# moves all scores by the same amount, which softmax ignores.
ZERO_GRADIENTS = (".key.bias", ".side_gate_layer_l.bias")
ZERO_GRADIENT_ATOL = 1e-6

TINY_WIDTHS = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 200,
    "max_position_embeddings": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
TINY = {
    "image_encoder": {
        "type": "clip_grid",
        "params": {"tower": {"layers": [1, 1, 1, 1], "width": 8}},
    },
    "fusion": {"type": "joint", "params": {**TINY_WIDTHS, "num_hidden_layers": 3}},
    "classifier": {"type": "mlp"},
    "num_answers": 13,
}

Golden = np.lib.npyio.NpzFile


@dataclass
class Deviation:
    """Where one quantity uses most of its tolerance: how far off it is, and what is allowed."""

    quantity: str
    absolute: float
    tolerance: float
    largest: float  # the largest recorded magnitude of the quantity

    @property
    def used(self) -> float:
        """The part of the tolerance that is used; at most 1 passes."""
        return self.absolute / self.tolerance


def load_golden(name: str) -> Golden:
    """The golden file `name`.npz."""
    return np.load(GOLDEN / f"{name}.npz")


def load_tiny() -> tuple[ClipVilNetwork, Golden]:
    """The tiny CLIP-ViL with the golden weights, and the golden file."""
    golden = load_golden("clipvil_full")
    network = ClipVilNetwork.from_config(**TINY)
    load_published(network, published_weights(golden))
    return network, golden


def published_weights(golden: Golden) -> dict[str, Tensor]:
    """The `sd/` part of a golden file; BatchNorm's counters as the scalars they were."""
    weights = {}
    for name in golden.files:
        if name.startswith("sd/"):
            value = torch.from_numpy(golden[name])
            counter = name.endswith(".num_batches_tracked")
            weights[name.removeprefix("sd/")] = value.long().squeeze() if counter else value
    return weights


def naming(names: Mapping[str, str]) -> Callable[[str], str]:
    """The function from our names to the published ones, of a table of prefixes.

    Args:
        names: our prefix -> published prefix, `{}` for a number on both sides.
    """
    rules = [
        (re.compile(re.escape(ours).replace(r"\{\}", r"(\d+)")), theirs)
        for ours, theirs in names.items()
    ]

    def published(name: str) -> str:
        for pattern, theirs in rules:
            match = pattern.match(name)
            if match:
                return theirs.format(*match.groups()) + name[match.end() :]
        raise KeyError(name)

    return published


def load_named(
    network: nn.Module, weights: Mapping[str, Tensor], published: Callable[[str], str]
) -> None:
    """Load weights under their published names; all of both sides must be used."""
    ours = {name: published(name) for name in network.state_dict()}
    if set(ours.values()) != set(weights):
        raise AssertionError(f"keys differ: {set(ours.values()) ^ set(weights)}")
    network.load_state_dict({name: weights[theirs] for name, theirs in ours.items()})


def text_inputs(golden: Golden) -> dict[str, Tensor]:
    """The questions; every question has an image of its own."""
    names = {"input_ids": "in/input_ids", "input_mask": "in/mask", "segment_ids": "in/segment_ids"}
    text = {ours: torch.from_numpy(golden[theirs]).long() for ours, theirs in names.items()}
    return {"image_index": torch.arange(len(text["input_ids"])), **text}


def inputs(golden: Golden) -> dict[str, Tensor]:
    """The network's arguments for images."""
    return {"images": torch.from_numpy(golden["in/images"]), **text_inputs(golden)}


def gradients(
    mode: str, network: nn.Module, golden: Golden, published: Callable[[str], str]
) -> list[Deviation]:
    """Norms of all gradients and the gradients that are recorded in full, under `mode`/."""
    grads = {
        published(name): parameter.grad
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    names = golden[f"{mode}/gradnorm_names"].tolist()
    # Both directions: the same parameters get a gradient here and there.
    if set(names) != set(grads):
        raise AssertionError(f"gradients differ in names: {set(names) ^ set(grads)}")
    norms = torch.stack([grads[name].norm() for name in names]).cpu()
    golden_norms = golden[f"{mode}/gradnorm"]
    zero = np.array([name.endswith(ZERO_GRADIENTS) for name in names])
    cancelling = np.array([name.endswith(CANCELLING) for name in names])[~zero]
    tolerance = np.where(cancelling, GRAD_ATOL, NORM_ATOL) + NORM_RTOL * golden_norms[~zero]
    quantity = f"{mode}/gradnorm ({(~zero).sum()})"
    rows = [deviation(quantity, norms[~zero], golden_norms[~zero], tolerance)]
    if zero.any():
        rows.append(
            deviation(
                f"{mode}/gradnorm, zero in theory ({zero.sum()})",
                norms[zero],
                golden_norms[zero],
                ZERO_GRADIENT_ATOL,
            )
        )
    for name in golden.files:
        key = name.removeprefix(f"{mode}/grad/")
        if key != name:
            tolerance = GRAD_ATOL + GRAD_RTOL_OF_MAX * np.abs(golden[name]).max()
            rows.append(deviation(name, grads[key], golden[name], tolerance))
    return rows


def close_outputs(quantity: str, ours: Tensor, golden: np.ndarray) -> Deviation:
    """Activations, scores, running statistics."""
    return deviation(quantity, ours, golden, OUTPUT_ATOL)


def close_norms(quantity: str, ours: Tensor, golden: np.ndarray) -> Deviation:
    """Losses and norms."""
    return deviation(quantity, ours, golden, NORM_ATOL + NORM_RTOL * np.abs(golden))


def deviation(
    quantity: str, ours: Tensor, golden: np.ndarray, tolerance: float | np.ndarray
) -> Deviation:
    """The element of `ours` that uses most of its tolerance."""
    actual = ours.detach().cpu().double().numpy()
    if actual.shape != golden.shape:
        raise AssertionError(f"{quantity}: shape {actual.shape}, recorded {golden.shape}")
    difference = np.abs(actual - golden.astype(np.float64)).ravel()
    allowed = np.broadcast_to(tolerance, golden.shape).astype(np.float64).ravel()
    worst = int((difference / allowed).argmax())  # a NaN counts as the largest
    return Deviation(
        quantity, float(difference[worst]), float(allowed[worst]), float(np.abs(golden).max())
    )


def outside(rows: Iterable[Deviation]) -> list[Deviation]:
    """The rows beyond their tolerance, NaN included."""
    return [row for row in rows if not row.used <= 1.0]
