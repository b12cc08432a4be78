"""BitFit (arXiv 2106.10199): the biases are trainable."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from clipvil_mmf.tuning.method import HEAD, TOWER, TuningMethod


@dataclass
class BitFitConfig:
    """`params` of the method `bitfit`: none."""


class BitFit(TuningMethod):
    """The biases outside the visual tower and the answer head are trainable."""

    def is_trainable(self, name: str, owner: nn.Module) -> bool:
        """Biases and the head are."""
        return name.startswith(HEAD) or (name.endswith(".bias") and not name.startswith(TOWER))
