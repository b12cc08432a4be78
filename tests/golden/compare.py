"""Run a golden file through the network and collect the deviation of every recorded quantity.

The golden numbers are those of the published code; see `clipvil_full.npz`'s `info`. Stored
integers are float32. Tolerances: outputs 2e-5 absolute, gradients 1e-6 + 2e-4 of the tensor's
maximum, norms and losses 1e-5 relative.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.checkpoints import load_published, published_name
from clipvil_mmf.network import ClipVilNetwork

GOLDEN = Path(__file__).parent

OUTPUT_ATOL = 2e-5
GRAD_ATOL, GRAD_RTOL_OF_MAX = 1e-6, 2e-4
NORM_RTOL = 1e-5
NORM_ATOL = 1e-9  # for norms that are exactly zero
# Zero in theory, float noise in practice: an attention key's bias moves every score of a query by
# the same amount, which softmax ignores.
ZERO_GRADIENT = ".attention.self.key.bias"
ZERO_GRADIENT_ATOL = 1e-6

TINY = {
    "image_encoder": {
        "type": "clip_grid",
        "params": {"tower": {"layers": [1, 1, 1, 1], "width": 8}},
    },
    "fusion": {
        "type": "joint",
        "params": {
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "vocab_size": 200,
            "max_position_embeddings": 32,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
    },
    "classifier": {"type": "mlp"},
    "num_answers": 13,
}


@dataclass
class Deviation:
    """The largest deviation of one quantity, and how much of its tolerance that uses."""

    quantity: str
    absolute: float
    largest: float  # the largest recorded magnitude
    used: float  # of the tolerance; at most 1 passes


def load_tiny() -> tuple[ClipVilNetwork, np.lib.npyio.NpzFile]:
    """The tiny network with the golden weights, and the golden file."""
    golden = np.load(GOLDEN / "clipvil_full.npz")
    network = ClipVilNetwork.from_config(**TINY)
    load_published(network, published_weights(golden))
    return network, golden


def published_weights(golden: np.lib.npyio.NpzFile) -> dict[str, Tensor]:
    """The `sd/` part of a golden file; BatchNorm's counters as the scalars they were."""
    weights = {}
    for name in golden.files:
        if name.startswith("sd/"):
            value = torch.from_numpy(golden[name])
            counter = name.endswith(".num_batches_tracked")
            weights[name.removeprefix("sd/")] = value.long().squeeze() if counter else value
    return weights


def inputs(golden: np.lib.npyio.NpzFile) -> dict[str, Tensor]:
    """The network's arguments: every question has an image of its own."""
    images = torch.from_numpy(golden["in/images"])
    return {
        "images": images,
        "image_index": torch.arange(len(images)),
        "input_ids": torch.from_numpy(golden["in/input_ids"]).long(),
        "input_mask": torch.from_numpy(golden["in/mask"]).long(),
        "segment_ids": torch.from_numpy(golden["in/segment_ids"]).long(),
    }


def compare(mode: str) -> list[Deviation]:
    """Compare everything recorded under `eval/` or `train/`."""
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
        _outputs(f"{mode}/{name}", value, golden[f"{mode}/{name}"])
        for name, value in ours.items()
        if f"{mode}/{name}" in golden.files
    ]
    rows.append(_norms(f"{mode}/loss", loss.detach().reshape(1), golden[f"{mode}/loss"]))
    rows += _gradients(mode, network, golden)
    rows += [
        _outputs(name, network.state_dict()[_our_name(network, key)], golden[name])
        for name in golden.files
        if (key := name.removeprefix(f"{mode}/bn/")) != name
    ]
    return rows


def _gradients(mode: str, network: nn.Module, golden: np.lib.npyio.NpzFile) -> list[Deviation]:
    grads = {
        published_name(name): parameter.grad
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    names = golden[f"{mode}/gradnorm_names"].tolist()
    # Both directions: the same parameters get a gradient here and there.
    if set(names) != set(grads):
        raise AssertionError(f"gradients differ in names: {set(names) ^ set(grads)}")
    norms = torch.stack([grads[name].norm() for name in names])
    golden_norms = golden[f"{mode}/gradnorm"]
    zero = np.array([name.endswith(ZERO_GRADIENT) for name in names])
    rows = [
        _norms(f"{mode}/gradnorm ({(~zero).sum()})", norms[~zero], golden_norms[~zero]),
        _deviation(
            f"{mode}/gradnorm, zero in theory ({zero.sum()})",
            norms[zero],
            golden_norms[zero],
            ZERO_GRADIENT_ATOL,
        ),
    ]
    for name in golden.files:
        key = name.removeprefix(f"{mode}/grad/")
        if key != name:
            tolerance = GRAD_ATOL + GRAD_RTOL_OF_MAX * np.abs(golden[name]).max()
            rows.append(_deviation(name, grads[key], golden[name], tolerance))
    return rows


def _our_name(network: nn.Module, published: str) -> str:
    return next(name for name in network.state_dict() if published_name(name) == published)


def _outputs(quantity: str, ours: Tensor, golden: np.ndarray) -> Deviation:
    return _deviation(quantity, ours, golden, OUTPUT_ATOL)


def _norms(quantity: str, ours: Tensor, golden: np.ndarray) -> Deviation:
    return _deviation(quantity, ours, golden, NORM_ATOL + NORM_RTOL * np.abs(golden))


def _deviation(
    quantity: str, ours: Tensor, golden: np.ndarray, tolerance: float | np.ndarray
) -> Deviation:
    actual = ours.detach().double().numpy()
    if actual.shape != golden.shape:
        raise AssertionError(f"{quantity}: shape {actual.shape}, recorded {golden.shape}")
    difference = np.abs(actual - golden.astype(np.float64))
    return Deviation(
        quantity,
        float(difference.max()),
        float(np.abs(golden).max()),
        float((difference / tolerance).max()),
    )
