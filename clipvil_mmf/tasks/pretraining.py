"""The task ``pretraining``: masked words, whether a sentence is about its image, its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipvil_mmf.config import ConfigError, check_probability
from clipvil_mmf.tasks.classes import ClassTask

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class PretrainingConfig:
    """``params`` of the task ``pretraining``."""

    # Train answers as well, as the published second stage; false has no answer head.
    answers: bool = True
    # The share of word pieces that are to be predicted.
    mask_rate: float = 0.15
    # The share of sentences that are of another image.
    mismatch_rate: float = 0.5
    # Train and validate on the sentences of these sources alone, such as [mscoco, vqa]; null for
    # all. LXMERT's are mscoco and vg (captions), vqa, gqa and the one of VG-QA (questions).
    sources: list[str] | None = None

    def __post_init__(self) -> None:
        check_probability("mask_rate", self.mask_rate)
        check_probability("mismatch_rate", self.mismatch_rate)


class Pretraining(ClassTask):
    """CLIP-ViL's pre-training (arXiv 2107.06383), which is LXMERT's without its objects.

    ``data/pretraining.py`` draws its samples, the network ``pretraining.py`` has its losses: one
    mean cross entropy each, added up, in evaluation too.
    """

    default_metric = "masked_word_accuracy"
    row_fields = ("sentence_id", "answer")
    pretrains = True

    def __init__(self, config: PretrainingConfig) -> None:
        super().__init__(config)
        self.has_head = config.answers

    def prediction_rows(
        self, ids: Sequence[int | str], scores: Tensor, labels: Sequence[str]
    ) -> list[dict[str, Any]]:
        """See ``Task``; a ``ConfigError`` without answers."""
        if not self.has_head:
            raise ConfigError(
                "dataset_config.<dataset>.task.params.answers: false, so that there is nothing to "
                "predict; validate instead: run_type=val"
            )
        return super().prediction_rows(ids, scores, labels)
