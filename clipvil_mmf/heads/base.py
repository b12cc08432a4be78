"""What every head is: one vector a sample -> a score for each label."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from clipvil_mmf.layers.published import Names


class Head(nn.Module):
    """Pooled output (B, D) -> scores (B, labels), built as `Head(config, D, labels)`.

    Args:
        config: its `params`.

    Attributes:
        label_tensors: names of its tensors that have a row for each label. A checkpoint with other
            labels gives the rows of those that both know; without such names the whole head then
            keeps its initialisation.
        published_names: see :mod:`clipvil_mmf.layers.published`; empty without a counterpart.
        published_unused: published prefix -> why no parameter takes it.
    """

    label_tensors: ClassVar[tuple[str, ...]] = ()
    published_names: ClassVar[Names] = {}
    published_unused: ClassVar[Names] = {}

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config


class NoHead(Head):
    """The head of a network that scores no labels: pre-training without answers."""

    def __init__(self) -> None:
        super().__init__(None)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, 0)."""
        return pooled[:, :0]
