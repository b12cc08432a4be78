"""Layers whose activations are recomputed in the backward pass instead of being kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def run(layer: Callable[..., Any], *inputs: Any, recompute: bool, dropout: bool = True) -> Any:
    """Call a layer; with `recompute`, keep its inputs alone until the backward pass.

    Under `no_grad` there is nothing to save, and the layer is just called. One without `dropout`
    needs no random state put back, which on a GPU takes longer than a small layer.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=dropout)
    return layer(*inputs)
