"""What a fusion takes: word pieces and visual tokens, each with its padding mask."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Text(NamedTuple):
    """The word pieces of B questions."""

    input_ids: Tensor  # (B, T) int64
    input_mask: Tensor  # (B, T), 1 for word pieces, 0 for padding
    segment_ids: Tensor  # (B, T) int64


class Visual(NamedTuple):
    """The visual tokens of B images or questions."""

    tokens: Tensor  # (B, N, D)
    mask: Tensor | None = None  # (B, N), 1 for tokens, 0 for padding; None when all are tokens
    # (B, N, C), what the tokens are projected from, where a tuning method asks for it.
    features: Tensor | None = None

    def select(self, rows: Tensor) -> Visual:
        """Those of the given rows, (B,) int64: a question each, where the rows are images."""
        return Visual(*(None if part is None else part.index_select(0, rows) for part in self))


def joint_mask(text: Text, visual: Visual) -> Tensor:
    """The padding mask (B, T+N) of text tokens followed by visual tokens."""
    mask = visual.mask
    if mask is None:
        mask = text.input_mask.new_ones(visual.tokens.shape[:2])
    return torch.cat([text.input_mask, mask.to(text.input_mask.dtype)], dim=1)
