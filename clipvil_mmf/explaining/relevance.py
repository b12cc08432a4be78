"""Relevance propagated through attention, weighted by gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clipvil_mmf.explaining.method import Attended, ForwardPass


def relevance(forward: ForwardPass) -> Tensor:
    """How much each cell matters to the answer by way of each word.

    Chefer, Gur and Wolf, arXiv 2103.15679: attention times the gradient of the answer's score,
    positive parts alone, averaged over heads (eq. 5), is added up along the layers: by eq. 6 and 7
    where tokens attend to those of their own stream, as in VisualBERT, and by eq. 8 to 11 across
    streams, as in LXMERT.

    The paper's models read the answer of the first token behind the last layer. Where a side
    network reads the hidden states of all layers (UniPT, SHERL, ladder), the relevance that has
    come to each token of each is weighed by its part in the answer, gradient times state; that of
    a word by the parts of all tokens of a layer together.

    Returns:
        (P, T, N) float32, of each of T text tokens; the answer is read of the first.
    """
    length = forward.text_length
    total = length + forward.visual_length
    calls = [call for step in forward.attention for call in step]
    gradients = forward.gradients([*(call.output for call in calls), *forward.read])
    by_call, by_state = iter(gradients[: len(calls)]), gradients[len(calls) :]
    found = torch.eye(total, device=forward.grid.device).repeat(len(forward.grid), 1, 1)
    layers = [found]
    for step in forward.attention:
        before = found
        found = before.clone()
        for call in step:
            gradient = call.probability_gradient(next(by_call))
            weights = (gradient * call.probabilities()).clamp(min=0).mean(1)
            rows = call.queries
            if call.queries.start == call.keys.start:  # the same stream
                found[:, rows] += weights @ before[:, call.keys]
            else:
                found[:, rows] += _across(call, weights, before)
        layers.append(found)
    if forward.read:
        found = _of_all(layers, forward.read, by_state)
    return found[:, :length, length:]


def _of_all(
    layers: Sequence[Tensor], states: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Tensor:
    """The relevance (P, S, S) behind what reads the states of all layers; the answer's is row 0."""
    parts = [
        (state.detach().float() * gradient.float()).sum(-1).abs()
        for state, gradient in zip(states, gradients, strict=True)
    ]
    shares = torch.stack(parts, dim=1)  # (P, K, S)
    shares = shares / shares.sum((1, 2), keepdim=True).clamp(min=1e-12)
    relevances = torch.stack(list(layers), dim=1)  # (P, K, S, S)
    found = (shares.sum(2)[..., None, None] * relevances).sum(1)
    found[:, 0] = torch.einsum("pks,pksr->pr", shares, relevances)
    return found


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
