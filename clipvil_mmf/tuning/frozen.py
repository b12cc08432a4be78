"""A frozen network: the answer head alone learns, on pooled outputs that keep no graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipvil_mmf.dtypes import at_least_float32
from clipvil_mmf.tuning.backbone import BackboneConfig, Network, in_evaluation, precision
from clipvil_mmf.tuning.method import TuningMethod


@dataclass
class FrozenConfig(BackboneConfig):
    """`params` of the method `frozen`: those of every frozen backbone."""


class Frozen(TuningMethod):
    """The answer head learns."""

    def set_modes(self, network: Network) -> None:
        """Without dropout, if the configuration says so."""
        in_evaluation(network, self.config)

    def forward(self, network: Network, *batch: Any) -> Tensor:
        """The pooled output (B, D), without a graph."""
        with torch.no_grad(), precision(self.config, batch[1].device):
            return at_least_float32(super().forward(network, *batch))
