"""Tasks whose samples have one class each, by cross entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipvil_mmf.tasks.task import CLASSES, LabelPairs, Task

if TYPE_CHECKING:
    from torch import Tensor


class ClassTask(Task):
    """What ``entailment``, its data sets, and ``pretraining`` share."""

    target_kind = CLASSES

    def targets(self, pairs: LabelPairs, samples: int, labels: int) -> np.ndarray:
        """(B,) int64: a sample's main class among those that are labels; -1 without one."""
        targets = np.full(samples, -1, np.int64)
        labelled, first = np.unique(pairs.positions, return_index=True)
        targets[labelled] = pairs.rows[first]
        return targets

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy: the mean over the samples that have a class."""
        from clipvil_mmf.loss_functions import class_cross_entropy

        return class_cross_entropy(scores, targets)

    def probabilities(self, scores: Tensor) -> Tensor:
        """The softmax: (B, classes), which sum up to 1."""
        return scores.softmax(dim=1)
