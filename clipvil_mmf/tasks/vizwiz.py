"""The task ``vizwiz``: as ``vqa``, with the rows that VizWiz's server takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipvil_mmf.config import ConfigError, check_choice
from clipvil_mmf.tasks.vqa import VisualQuestionAnswering

if TYPE_CHECKING:
    from torch import Tensor

ANSWERS, ANSWERABILITY = "answers", "answerability"
UNANSWERABLE = "unanswerable"  # what people answered where they could not


@dataclass
class VizWizConfig:
    """``params`` of the task ``vizwiz``."""

    # Which of VizWiz's challenges a prediction file is for: answers, or answerability, how likely
    # it is that a question can be answered.
    predicts: str = ANSWERS

    def __post_init__(self) -> None:
        check_choice("predicts", self.predicts, (ANSWERS, ANSWERABILITY))


class VizWiz(VisualQuestionAnswering):
    """VizWiz (arXiv 1802.08218): each image has one question, so that a row names the image."""

    row_fields = ("image", "answer")
    number_field = "answerable"

    def prediction_rows(
        self, ids: Sequence[int | str], scores: Tensor, labels: Sequence[str]
    ) -> list[dict[str, Any]]:
        """See ``Task``; ``answerable`` is 1 - the probability of the answer ``unanswerable``.

        Raises:
            ConfigError: the model does not know this answer.
        """
        if self.config.predicts == ANSWERS:
            return super().prediction_rows(ids, scores, labels)
        if UNANSWERABLE not in labels:
            raise ConfigError(
                f"dataset_config.<dataset>.task.params.predicts: {ANSWERABILITY}, but "
                f"{UNANSWERABLE!r} is not among the model's {len(labels)} answers; expected a "
                "model that was trained on VizWiz's answers"
            )
        unanswerable = self.probabilities(scores.float())[:, list(labels).index(UNANSWERABLE)]
        id_field, _ = self.row_fields
        return [
            {id_field: key, self.number_field: value}
            for key, value in zip(ids, (1 - unanswerable).tolist(), strict=True)
        ]
