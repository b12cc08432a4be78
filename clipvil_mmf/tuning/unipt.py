"""UniPT (arXiv 2308.14316): the reduced hidden states of all layers, read by the last one's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from clipvil_mmf.fusion import Fusion
from clipvil_mmf.layers.dtypes import at_least_float32
from clipvil_mmf.layers.published import Names
from clipvil_mmf.layers.recompute import run
from clipvil_mmf.layers.transformer import init_bert_weights
from clipvil_mmf.tuning.method import Network
from clipvil_mmf.tuning.reducing import ReducingConfig, reduce_states
from clipvil_mmf.tuning.side import PUBLISHED_ENCODER, SIDE_NAMES, HiddenStates, SideNetwork

_EPS = 1e-6


@dataclass
class UniPTConfig(ReducingConfig):
    """`params` of the method `unipt`; the published reduction factor is 2."""


class UniPT(SideNetwork):
    """Each hidden state is reduced to width d; the last one attends to the others.

    Of the attention's S x S maps only the rows of the tokens that are wanted are computed, and a
    map of more than one row is recomputed in the backward pass instead of being kept.
    """

    published_names: ClassVar[Names] = {
        **SIDE_NAMES,
        "projection.": f"{PUBLISHED_ENCODER}side_projection_l.",
        "gate.": f"{PUBLISHED_ENCODER}side_gate_layer_l.",
        "output.": f"{PUBLISHED_ENCODER}side_final_upsample_l.0.",
    }

    def __init__(self, config: UniPTConfig, network: Network) -> None:
        super().__init__(config, network, "unipt")
        wide, narrow = self.width, self.reduced_width
        self.first = _reduction(wide, narrow)
        self.downs = nn.ModuleList(_reduction(wide, narrow) for _ in range(self.depth))
        self.projection = nn.Sequential(
            nn.Linear(narrow, wide), nn.ReLU(), nn.Linear(wide, narrow), nn.LayerNorm(narrow)
        )
        # Its bias moves all layers' scores alike, which the softmax ignores: it never changes.
        self.gate = nn.Linear(narrow, 1)
        self.output = nn.Linear(narrow, wide)
        init_bert_weights(self, network.fusion.config.initializer_range)

    def read_states(
        self, states: HiddenStates, mask: Tensor, fusion: Fusion, count: int | None
    ) -> Tensor:
        """See :meth:`SideNetwork.read_states`."""
        weights = at_least_float32(mask.unsqueeze(-1).to(self.gate.weight.dtype))
        downs = [self.first, *self.downs]
        recompute = self.config.recompute_states and not self.keeps_graph
        reduced = reduce_states(downs, states, recompute)
        last = reduced.pop()
        mean = _mean(last, weights)
        scores = torch.cat([self.gate(mean * _mean(state, weights)) for state in reduced], dim=1)
        shares = torch.softmax(scores, dim=1)
        anchor = last[:, :count]
        recompute = anchor.shape[1] > 1
        merged = torch.zeros_like(anchor)
        for state, share in zip(reduced, shares.unbind(1), strict=True):
            merged = merged + share[:, None, None] * run(
                _attend, anchor, state, weights, recompute=recompute, dropout=False
            )
        return self.output(anchor + self.projection(merged))


def _reduction(wide: int, narrow: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, narrow), nn.LayerNorm(narrow))


def _mean(state: Tensor, weights: Tensor) -> Tensor:
    """(B, S, d) and (B, S, 1) -> the mean over the tokens that are none of padding, (B, d)."""
    return (state * weights).sum(1) / weights.sum(1)


def _attend(anchor: Tensor, state: Tensor, weights: Tensor) -> Tensor:
    """The anchor's tokens (B, Q, d) read a layer's (B, S, d), and each its own once more.

    A token's weights are relu of its products with all tokens, divided by their sum.
    """
    products = torch.relu(anchor @ state.transpose(1, 2))
    read = products @ (state * weights)
    total = products @ weights
    return read / (total + _EPS) + state[:, : anchor.shape[1]]
