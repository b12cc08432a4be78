"""A frozen network: the answer head alone is trainable, on pooled outputs under `no_grad`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipvil_mmf.fusion import Fusion, Text, Visual
from clipvil_mmf.layers.dtypes import at_least_float32
from clipvil_mmf.tuning.backbone import BackboneConfig, Network, disable_dropout, precision
from clipvil_mmf.tuning.method import TuningMethod


@dataclass
class FrozenConfig(BackboneConfig):
    """`params` of the method `frozen`: those of every frozen backbone."""


class Frozen(TuningMethod):
    """The answer head is trainable."""

    def set_modes(self, network: Network) -> None:
        """Without dropout, if the configuration says so."""
        disable_dropout(network, self.config)

    def backbone_precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """That of the configuration."""
        return precision(self.config, device)

    def read(self, fusion: Fusion, text: Text, visual: Visual) -> Tensor:
        """The pooled output (B, D), under `no_grad`."""
        with torch.no_grad(), precision(self.config, visual.tokens.device):
            return at_least_float32(fusion(text, visual))
