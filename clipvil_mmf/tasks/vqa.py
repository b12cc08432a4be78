"""The task ``vqa``: a question about an image has answers, each with a score in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipvil_mmf.tasks.task import SOFT, LabelPairs, Task

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class VQAConfig:
    """``params`` of the task ``vqa``: none."""


class VisualQuestionAnswering(Task):
    """VQA v2 (arXiv 1612.00837): ten people answer, and an answer's score is their agreement.

    Answers are scored one by one, by binary cross entropy (arXiv 1707.07998).
    """

    target_kind = SOFT
    default_loss = "logit_bce"
    default_metric = "vqa_score"
    row_fields = ("question_id", "answer")
    has_server = True

    def targets(self, pairs: LabelPairs, samples: int, labels: int) -> np.ndarray:
        """(B, labels) float32: the score of each answer, 0 for all others."""
        targets = np.zeros((samples, labels), np.float32)
        targets[pairs.positions, pairs.rows] = pairs.scores
        return targets

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Binary cross entropy: the sum over the answers, the mean over the questions."""
        from clipvil_mmf.loss_functions import scaled_bce

        return scaled_bce(scores, targets, 1)

    def probabilities(self, scores: Tensor) -> Tensor:
        """The sigmoid: (B, labels), which do not sum up to 1."""
        return scores.sigmoid()
