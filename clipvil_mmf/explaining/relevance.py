"""Relevance propagated through attention, weighted by gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from clipvil_mmf.explaining.method import Attended, ForwardPass


def relevance(forward: ForwardPass) -> Tensor:
    """How much each cell matters to the answer by way of each word.

    Chefer, Gur and Wolf, arXiv 2103.15679: attention times the gradient of the answer's score,
    positive parts alone, averaged over heads (eq. 5), is added up along the layers: by eq. 6 and 7
    where tokens attend to those of their own stream, as in VisualBERT, and by eq. 8 to 11 across
    streams, as in LXMERT.

    Returns:
        (P, T, N) float32, of each of T text tokens; the answer is read of the first.
    """
    length = forward.text_length
    total = length + forward.visual_length
    calls = [call for step in forward.attention for call in step]
    gradients = iter(forward.gradients([call.output for call in calls]))
    found = torch.eye(total, device=forward.grid.device).repeat(len(forward.grid), 1, 1)
    for step in forward.attention:
        before = found
        found = before.clone()
        for call in step:
            gradient = call.probability_gradient(next(gradients))
            weights = (gradient * call.probabilities()).clamp(min=0).mean(1)
            rows = call.queries
            if call.queries.start == call.keys.start:  # the same stream
                found[:, rows] += weights @ before[:, call.keys]
            else:
                found[:, rows] += _across(call, weights, before)
    return found[:, :length, length:]


def _across(call: Attended, weights: Tensor, before: Tensor) -> Tensor:
    """What the rows of one stream gain by reading the other: (P, L, T+N), eq. 10 and 11."""
    own, other = call.queries, call.keys
    gained = torch.zeros_like(before[:, own])
    gained[:, :, own] = weights @ before[:, other, own]
    through = _normalised(before[:, own, own]).transpose(-1, -2) @ weights
    gained[:, :, other] = through @ _normalised(before[:, other, other])
    return gained


def _normalised(own: Tensor) -> Tensor:
    """Eq. 8 and 9: what self-attention has added to the identity, with rows that sum up to 1."""
    identity = torch.eye(own.shape[-1], device=own.device)
    added = own - identity
    return added / added.sum(-1, keepdim=True).clamp(min=1e-12) + identity
