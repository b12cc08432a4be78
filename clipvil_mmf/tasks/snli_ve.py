"""The task ``snli_ve``: what an image says of a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from clipvil_mmf.tasks.entailment import Entailment, EntailmentConfig

# In the order of UNITER's classes, which CLIP-ViL's head has taken over.
LABELS = ("contradiction", "entailment", "neutral")


@dataclass
class SnliVEConfig:
    """``params`` of the task ``snli_ve``: none."""


class SnliVE(Entailment):
    """SNLI-VE (arXiv 1901.06706): entailment by three classes, whose order is fixed."""

    def __init__(self, config: SnliVEConfig) -> None:
        super().__init__(EntailmentConfig([*LABELS]))
        self.config = config
