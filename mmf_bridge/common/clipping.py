"""``training.clip_gradients``: one joint norm over all parameters, on both lines."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class GradientClipping:
    """Scales all gradients together so that their joint L2 norm is at most the configured one.

    Args:
        training: MMF's ``training`` section: ``clip_gradients``, ``max_grad_l2_norm`` and
            ``clip_norm_mode``.

    Raises:
        ValueError: ``clip_norm_mode`` is not ``all``, or clipping is on without a norm (stock MMF
            would clip nothing).
    """

    def __init__(self, training: Any) -> None:
        self.max_norm = training.max_grad_l2_norm if training.clip_gradients else None
        if not training.clip_gradients:
            return
        if training.clip_norm_mode != "all":
            raise ValueError(
                f"training.clip_norm_mode is {training.clip_norm_mode!r}: mmf_bridge knows 'all', "
                "one norm over all parameters"
            )
        if self.max_norm is None:
            raise ValueError(
                "training.clip_gradients is true, but training.max_grad_l2_norm is null: give the "
                "largest norm, such as training.max_grad_l2_norm=1.0"
            )

    def __call__(self, model: nn.Module, optimizer: Any) -> torch.Tensor | None:
        """Clip the gradients of ``model`` in place.

        Returns:
            the joint norm before clipping, () on the gradients' device (nobody waits for it), or
            None where clipping is off.
        """
        if self.max_norm is None:
            return None
        if hasattr(optimizer, "clip_grad_norm"):  # sharded: it alone knows all gradients
            return optimizer.clip_grad_norm(self.max_norm)
        return nn.utils.clip_grad_norm_(model.parameters(), self.max_norm)
