"""Full fine-tuning: everything learns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from clipvil_mmf.tuning.method import TuningMethod


@dataclass
class FullConfig:
    """`params` of the method `full`: none."""


class Full(TuningMethod):
    """Every parameter learns, but for those that a part's own configuration has frozen."""

    def learns(self, name: str, owner: nn.Module) -> bool:
        """All do."""
        return True
