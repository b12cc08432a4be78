"""What the comparisons with golden files share: the tiny network, tolerances, deviations.

The golden numbers are those of the published code; see each file's `info`. Stored integers are
float32. Each file is measured by a module of its own, listed in `files.py`: in float64, as what the
kernels of a processor round in float32 is as large as the tolerances. Beside it our float32 is
compared with our float64.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clipvil_mmf.network import ClipVilNetwork
from tests.golden.published import load_published

GOLDEN = Path(__file__).parent

# Zero in theory, float noise in practice: the bias of an attention's keys, or of UniPT's gate,
# moves all scores by the same amount, which softmax ignores.
ZERO_GRADIENTS = (".key.bias", ".side_gate_layer_l.bias")

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
    "num_labels": 13,
}

# How names of recorded quantities begin.
_MODE = re.compile(r"(stage\d/)?(eval|train)/")

Golden = np.lib.npyio.NpzFile
# Recorded quantities, or ours, under the names that they have in a file.
Quantities = Mapping[str, Tensor]


@dataclass(frozen=True)
class Tolerances:
    """What deviations may be."""

    outputs: float = 2e-5  # absolute; activations, scores, running statistics
    # Gradients: 1e-6 + this part of the tensor's maximum.
    gradients: float = 2e-4
    norms: float = 5e-5  # relative; of gradients
    losses: float = 1e-5  # relative
    zero_gradients: float = 1e-6  # absolute

    def of(self, kind: str, expected: np.ndarray) -> float | np.ndarray:
        """For each element of a quantity (or for all), by the part of its name behind the mode."""
        if kind == "grad":
            return 1e-6 + self.gradients * np.abs(expected).max()
        if kind == "gradnorm":
            return 1e-9 + self.norms * np.abs(expected)  # some are exactly zero
        if kind in ("loss", "losses", "total", "ce"):
            return self.losses * np.abs(expected)
        return self.outputs


RECORDED = Tolerances()
# Of float32 against float64, on any processor. Relative errors of 1e-7 in the result of every
# module make 2e-5 of outputs, and 4e-4 of norms where nearly equal sums are subtracted. Where they
# turn the sign of what enters a ReLU (the tower has 10,000s, and so some very close to 0), one
# gradient more or less is summed, which moves those of the layers before by 7e-3.
FLOAT32 = Tolerances(outputs=1e-4, gradients=2e-2, norms=2e-2, zero_gradients=5e-6)


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


def compile_with(network: nn.Module, backend: str | None) -> None:
    """Compile a network in place by a backend of torch.compile, as one graph; None for not."""
    if backend is not None:
        torch._dynamo.reset()
        network.compile(backend=backend, fullgraph=True)


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
) -> Quantities:
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
    full = {
        name: grads[key]
        for name in golden.files
        if (key := name.removeprefix(f"{mode}/grad/")) != name
    }
    return {f"{mode}/gradnorm": torch.stack([grads[name].norm() for name in names]), **full}


def compare(
    golden: Golden,
    ours: Quantities,
    tolerances: Tolerances = RECORDED,
    reference: Quantities | None = None,
) -> list[Deviation]:
    """The deviation of every quantity that is recorded in a file.

    Args:
        golden: the file.
        ours: all that it has under `eval/` and `train/`, of each stage where it has stages.
        tolerances: what a deviation may be.
        reference: a run of ours to compare with, in place of what is recorded.

    Raises:
        AssertionError: `ours` lacks a quantity, or has one that is not recorded.
    """
    recorded = {name for name in golden.files if re.match(_MODE, name)}
    recorded -= {name for name in recorded if name.endswith("gradnorm_names")}
    if recorded != set(ours):
        raise AssertionError(f"quantities differ: {recorded ^ set(ours)}")
    rows = []
    for name, value in ours.items():
        expected = golden[name] if reference is None else _array(reference[name])
        kind = re.sub(_MODE, "", name).split("/")[0]
        if kind == "gradnorm":
            names = golden[f"{name}_names"].tolist()
            zero = np.array([parameter.endswith(ZERO_GRADIENTS) for parameter in names])
            value, zeros, expected_zeros = value[~zero], value[zero], expected[zero]
            expected = expected[~zero]
            if len(zeros):
                rows.append(
                    deviation(
                        f"{name}, zero in theory ({len(zeros)})",
                        zeros,
                        expected_zeros,
                        tolerances.zero_gradients,
                    )
                )
            name = f"{name} ({len(value)})"
        rows.append(deviation(name, value, expected, tolerances.of(kind, expected)))
    return rows


def close_outputs(quantity: str, ours: Tensor, golden: np.ndarray) -> Deviation:
    """Activations, scores, running statistics."""
    return deviation(quantity, ours, golden, RECORDED.outputs)


def deviation(
    quantity: str, ours: Tensor, golden: np.ndarray, tolerance: float | np.ndarray
) -> Deviation:
    """The element of `ours` that uses most of its tolerance."""
    actual = _array(ours)
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


def _array(value: Tensor) -> np.ndarray:
    return value.detach().cpu().double().numpy()
