"""The task ``nlvr2``: whether a sentence is true of two images."""

from __future__ import annotations

from dataclasses import dataclass

from clipvil_mmf.config import check_choice
from clipvil_mmf.tasks.entailment import Entailment, EntailmentConfig

# In the order of the head's rows, and as the official files write them.
LABELS = ("False", "True")
SIDE_BY_SIDE, TWO_PASSES = "side_by_side", "two_passes"


@dataclass
class NLVR2Config:
    """``params`` of the task ``nlvr2``."""

    # side_by_side joins both images into one picture, the left one on the left, as published for
    # CLIP-ViL. two_passes reads the sentence once with each image, and the head takes both pooled
    # outputs, the left one first, as published for LXMERT.
    pairing: str = SIDE_BY_SIDE

    def __post_init__(self) -> None:
        check_choice("pairing", self.pairing, (SIDE_BY_SIDE, TWO_PASSES))


class NLVR2(Entailment):
    """NLVR2 (arXiv 1811.00491): a pair of photographs and a sentence, true or false."""

    row_fields = ("identifier", "prediction")
    writes_csv = True
    images_per_sample = 2

    def __init__(self, config: NLVR2Config) -> None:
        super().__init__(EntailmentConfig([*LABELS]))
        self.config = config
        self.joins_images = config.pairing == SIDE_BY_SIDE
