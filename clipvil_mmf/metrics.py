"""MMF's metrics: ``vqa_score``, as leaderboards score a prediction, and those of pre-training."""

from __future__ import annotations

from typing import Any

import torch
from mmf.common.registry import registry
from mmf.modules.metrics import BaseMetric


@registry.register_metric("vqa_score")
class VQAScore(BaseMetric):
    """Mean over the questions of the soft target of the best-scored answer.

    Unlike MMF's ``vqa_accuracy`` it does not mask answer 0, which here is an answer like any other.
    A question without an answer in the vocabulary has zero targets, and counts as wrong: for GQA
    this is the accuracy over all questions, not the published one over those with a known answer.
    """

    # Summed up batch by batch: neither scores nor targets of a split are held (mmf_bridge).
    mean_of_samples = True

    def __init__(self) -> None:
        super().__init__("vqa_score")
        self.required_params = ["scores", "targets"]

    def calculate(
        self, sample_list: Any, model_output: Any, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """() float32 of ``scores`` of any float dtype and soft ``targets``, both (B, labels)."""
        best = model_output["scores"].argmax(dim=1, keepdim=True)
        return sample_list["targets"].float().gather(1, best).mean()


class _PretrainingAccuracy(BaseMetric):
    """The share of what pre-training predicts right, of all that has a label in the split."""

    def __init__(self, name: str, column: int) -> None:
        super().__init__(name)
        self.required_params = ["correct", "counted"]
        self._column = column

    def calculate(
        self, sample_list: Any, model_output: Any, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """() float32 of ``correct`` and ``counted``, (N, 3) numbers of words, pairs, answers.

        0 where nothing is counted.
        """
        correct, counted = (
            model_output[name][:, self._column].sum() for name in ("correct", "counted")
        )
        return correct / counted.clamp(min=1)


@registry.register_metric("masked_word_accuracy")
class MaskedWordAccuracy(_PretrainingAccuracy):
    """How many of the word pieces that are to be predicted are."""

    def __init__(self) -> None:
        super().__init__("masked_word_accuracy", 0)


@registry.register_metric("matching_accuracy")
class MatchingAccuracy(_PretrainingAccuracy):
    """How often it is told whether a sentence is about its image."""

    def __init__(self) -> None:
        super().__init__("matching_accuracy", 1)


@registry.register_metric("answer_accuracy")
class AnswerAccuracy(_PretrainingAccuracy):
    """How many of the drawn answers are given."""

    def __init__(self) -> None:
        super().__init__("answer_accuracy", 2)
