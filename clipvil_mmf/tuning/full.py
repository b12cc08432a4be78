"""Full fine-tuning: everything is trainable."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from clipvil_mmf.tuning.method import TuningMethod


@dataclass
class FullConfig:
    """`params` of the method `full`: none."""


class Full(TuningMethod):
    """Every parameter is, but for those that a part's own configuration has frozen."""

    saves_backbone = True

    def is_trainable(self, name: str, owner: nn.Module) -> bool:
        """All are."""
        return True
