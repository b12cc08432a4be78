"""Grad-CAM on the grid."""

from __future__ import annotations

from torch import Tensor

from clipvil_mmf.explaining.method import ForwardPass


def grad_cam(forward: ForwardPass) -> Tensor:
    """Where the channels of the grid are on that raise the answer's score.

    Selvaraju et al., arXiv 1610.02391: each channel of the image encoder's output weighs its
    gradient's mean over cells; the positive part of the weighted sum. It works with every fusion,
    and has no map for a word.

    Returns:
        (P, 1, N) float32.
    """
    (gradient,) = forward.gradients([forward.grid])
    weights = gradient.float().mean((2, 3), keepdim=True)
    summed = (weights * forward.grid.detach().float()).sum(1)
    return summed.clamp(min=0).flatten(1).unsqueeze(1)
