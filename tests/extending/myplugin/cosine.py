"""A head: the cosine between the pooled output and a direction for each label."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.config import check_at_least
from clipvil_mmf.heads import Head


@dataclass
class CosineConfig:
    """`params` of the classifier `cosine`."""

    # What a cosine of 1 scores before the sigmoid, at the start.
    scale: float = 10.0

    def __post_init__(self) -> None:
        check_at_least("scale", self.scale, 0.0)


class CosineHead(Head):
    """Scaled cosines, and a bias for each label.

    Args:
        config: the classifier's `params`.
        in_features: D, the width of the pooled output.
        num_labels: L.
    """

    # These have a row for each label: a checkpoint of another vocabulary gives those it knows.
    label_tensors = ("directions", "bias")

    def __init__(self, config: CosineConfig, in_features: int, num_labels: int) -> None:
        super().__init__(config)
        self.directions = nn.Parameter(0.02 * torch.randn(num_labels, in_features))
        self.scale = nn.Parameter(torch.tensor(config.scale))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) -> scores (B, L)."""
        cosines = F.linear(F.normalize(pooled, dim=-1), F.normalize(self.directions, dim=-1))
        return self.scale * cosines + self.bias
