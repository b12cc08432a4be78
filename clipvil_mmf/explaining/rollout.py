"""Attention rollout."""

from __future__ import annotations

import torch
from torch import Tensor

from clipvil_mmf.explaining.method import ForwardPass


def rollout(forward: ForwardPass) -> Tensor:
    """How much of each cell flows through the layers into each word, gradients aside.

    Abnar and Zuidema, arXiv 2005.00928: a layer passes on half of its input by the residual, half
    by its attention, averaged over heads; layers multiply. It is the same for every answer. Of a
    word other than the first it says what the last layer, which the answer is read of, found there.
    Of a side network it is the backbone's, as far as the states that are read.

    Returns:
        (P, T, N) float32, of each of T text tokens; the answer is read of the first.
    """
    length = forward.text_length
    total = length + forward.visual_length
    flow = torch.eye(total, device=forward.grid.device).repeat(len(forward.grid), 1, 1)
    for step in forward.attention:
        before = flow
        flow = before.clone()
        for call in step:
            read = call.probabilities().mean(1) @ before[:, call.keys]
            flow[:, call.queries] = (before[:, call.queries] + read) / 2
    return flow[:, :length, length:]
