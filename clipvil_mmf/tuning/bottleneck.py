"""What adapters of every kind share: where they stand in the fusion, and what is trainable."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.config import check_at_least
from clipvil_mmf.layers.published import BERT, Names
from clipvil_mmf.tuning.inside import InsideConfig, InsideMethod
from clipvil_mmf.tuning.method import Network, layered_fusion, reduced_width


@dataclass
class BottleneckConfig(InsideConfig):
    """What the `params` of all adapters have."""

    # An adapter's inner width is the fusion's divided by this.
    reduction_factor: int = 16

    def __post_init__(self) -> None:
        check_at_least("reduction_factor", self.reduction_factor, 1)


class BottleneckAdapters(InsideMethod):
    """A small bottleneck after both output matrices of each layer, before dropout and LayerNorm.

    All LayerNorms, the visual projection and the answer head are trainable as well.

    Raises:
        ConfigError: the fusion gives no hidden states, or `reduction_factor` does not divide its
            width.
    """

    published_names: ClassVar[Names] = {
        f"{ours}.{{}}.{part}": f"{BERT}encoder.layer.{{}}.{theirs}.adapter.adapters.vqa.{name}"
        for ours, theirs in (("attention", "attention.output"), ("feed_forward", "output"))
        for part, name in (("down.", "down_sampler."), ("up.", "up_sampler."), ("gate", "gate"))
    }

    @abstractmethod
    def bottleneck(self, width: int, inner: int) -> Bottleneck:
        """One adapter, initialised: (B, S, width) -> (B, S, width), `inner` wide inside."""

    def update(self, adapter: Bottleneck, hidden: Tensor) -> Tensor:
        """What an adapter adds to (B, S, width)."""
        return adapter(hidden)

    def add_to_layers(self, network: Network, method: str) -> None:
        """Build the adapters, and hook them into the layers; `method` is its name in errors."""
        fusion = layered_fusion(network, method)
        widths = fusion.hidden_size, reduced_width(fusion, self.config.reduction_factor)
        self.attention = nn.ModuleList(self.bottleneck(*widths) for _ in fusion.layers)
        self.feed_forward = nn.ModuleList(self.bottleneck(*widths) for _ in fusion.layers)
        for index, layer in enumerate(fusion.layers):
            for part in ("attention", "feed_forward"):
                hook = partial(self._after, getattr(self, part)[index])
                getattr(layer, part).output.register_forward_hook(hook)

    def _after(self, adapter: Bottleneck, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """The hook at a matrix whose output is adapted."""
        return output + self.update(adapter, output)

    def is_trainable(self, name: str, owner: nn.Module) -> bool:
        """LayerNorms are, the visual one among them, and what :class:`InsideMethod` has."""
        return isinstance(owner, nn.LayerNorm) or super().is_trainable(name, owner)


class Bottleneck(nn.Module):
    """One matrix down, tanh-approximated GELU, one matrix up.

    Args:
        down: (B, S, width) -> (B, S, inner).
        up: the way back.
        gate: a learned number, 0 at the start, multiplies the output.
    """

    def __init__(self, down: nn.Module, up: nn.Module, gate: bool = False) -> None:
        super().__init__()
        self.down = down
        self.up = up
        self.gate = nn.Parameter(torch.zeros(1)) if gate else None

    def forward(self, hidden: Tensor, *shared: Tensor) -> Tensor:
        """(B, S, width) -> (B, S, width), what is added; both matrices take what is `shared`."""
        inner = F.gelu(self.down(hidden, *shared), approximate="tanh")
        update = self.up(inner, *shared)
        return update if self.gate is None else self.gate * update
