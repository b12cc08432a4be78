"""The task ``pretraining``: masked words, whether a sentence is about its image, its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clipvil_mmf.config import ConfigError, check_probability
from clipvil_mmf.tasks.task import CLASSES, LabelPairs, Task

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


class Pretraining(Task):
    """CLIP-ViL's pre-training (arXiv 2107.06383), which is LXMERT's without its objects.

    ``data/pretraining.py`` draws its samples, the network ``pretraining.py`` has its losses: one
    mean cross entropy each, added up, in evaluation too.
    """

    target_kind = CLASSES
    default_metric = "masked_word_accuracy"
    row_fields = ("sentence_id", "answer")
    pretrains = True

    def __init__(self, config: PretrainingConfig) -> None:
        super().__init__(config)
        self.has_head = config.answers

    def targets(self, pairs: LabelPairs, samples: int, labels: int) -> np.ndarray:
        """(B,) int64: a sample's main answer; -1 without one."""
        targets = np.full(samples, -1, np.int64)
        labelled, first = np.unique(pairs.positions, return_index=True)
        targets[labelled] = pairs.rows[first]
        return targets

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of the answers, one of the three losses."""
        from clipvil_mmf.loss_functions import class_cross_entropy

        return class_cross_entropy(scores, targets)

    def probabilities(self, scores: Tensor) -> Tensor:
        """The softmax: (B, answers)."""
        return scores.softmax(dim=1)

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
