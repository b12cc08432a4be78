"""``training.clip_gradients``: one joint norm over all parameters, on both lines."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def largest_norm(training: Any) -> float | None:
    """``max_grad_l2_norm`` of MMF's ``training`` section; None where clipping is off.

    Raises:
        ValueError: ``clip_norm_mode`` is not ``all``, or clipping is on without a norm (stock MMF
            would clip nothing).
    """
    if not training.clip_gradients:
        return None
    if training.clip_norm_mode != "all":
        raise ValueError(
            f"training.clip_norm_mode is {training.clip_norm_mode!r}: mmf_bridge knows 'all', "
            "one norm over all parameters"
        )
    if training.max_grad_l2_norm is None:
        raise ValueError(
            "training.clip_gradients is true, but training.max_grad_l2_norm is null: give the "
            "largest norm, such as training.max_grad_l2_norm=1.0"
        )
    return training.max_grad_l2_norm


def clip_gradients(model: nn.Module, optimizer: Any, max_norm: float) -> torch.Tensor:
    """Scale all gradients together; their norm before, () on their device: nobody waits for it."""
    if hasattr(optimizer, "clip_grad_norm"):  # sharded: it alone knows all gradients
        return optimizer.clip_grad_norm(max_norm)
    return nn.utils.clip_grad_norm_(model.parameters(), max_norm)
