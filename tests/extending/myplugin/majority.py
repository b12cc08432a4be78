"""A task: the answer that most people gave is the one class of a question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from clipvil_mmf.config import check_at_least
from clipvil_mmf.tasks.task import CLASSES, LabelPairs, Task


@dataclass
class MajorityConfig:
    """`params` of the task `majority`."""

    # A question none of whose answers has this score has no class, and adds nothing to the loss.
    least_score: float = 0.5

    def __post_init__(self) -> None:
        check_at_least("least_score", self.least_score, 0.0)


class Majority(Task):
    """Visual question answering as a choice of one answer, by cross entropy."""

    target_kind = CLASSES
    default_metric = "accuracy"
    row_fields = ("question_id", "answer")

    def targets(self, pairs: LabelPairs, samples: int, labels: int) -> np.ndarray:
        """(B,) int64: the answer with the highest score; -1 for none."""
        scores = np.zeros((samples, labels), np.float32)
        scores[pairs.positions, pairs.rows] = pairs.scores
        agreed = scores.max(axis=1) >= max(self.config.least_score, 1e-6)
        return np.where(agreed, scores.argmax(axis=1), -1)

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of (B, labels) scores: the mean over the questions with a class."""
        return F.cross_entropy(scores.float(), targets, ignore_index=-1)

    def probabilities(self, scores: Tensor) -> Tensor:
        """The softmax: (B, labels)."""
        return scores.softmax(dim=1)
