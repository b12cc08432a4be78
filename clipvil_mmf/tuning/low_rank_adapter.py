"""Low-rank adapters (as in arXiv 2106.04647): adapters whose matrices are products of narrow ones.

Parameters have the published names, among them `b`, which published optimizers decay.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from clipvil_mmf.config import check_at_least
from clipvil_mmf.tuning.bottleneck import Bottleneck, BottleneckAdapters, BottleneckConfig
from clipvil_mmf.tuning.method import Network


@dataclass
class LowRankAdapterConfig(BottleneckConfig):
    """`params` of the method `low_rank_adapter`; the defaults are published."""

    # The rank of both matrices of an adapter.
    rank: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("rank", self.rank, 1)


class LowRankAdapters(BottleneckAdapters):
    """See :class:`BottleneckAdapters`; each matrix is a product of two."""

    def __init__(self, config: LowRankAdapterConfig, network: Network) -> None:
        super().__init__(config, network)
        self.add_to_layers(network, "low_rank_adapter")

    def bottleneck(self, width: int, inner: int) -> Bottleneck:
        """See :meth:`BottleneckAdapters.bottleneck`."""
        rank = self.config.rank
        return Bottleneck(LowRankLinear(width, inner, rank), LowRankLinear(inner, width, rank))


class LowRankLinear(nn.Module):
    """(..., wide) -> (..., narrow): x W_left W_right + b."""

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.W_left = nn.Parameter(torch.empty(in_features, rank))
        self.W_right = nn.Parameter(torch.empty(rank, out_features))
        self.b = nn.Parameter(torch.zeros(out_features))
        for factor in (self.W_left, self.W_right):
            nn.init.xavier_uniform_(factor, gain=sqrt(2))

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return hidden @ self.W_left @ self.W_right + self.b
