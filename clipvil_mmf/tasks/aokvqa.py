"""The task ``aokvqa``: an answer of one's own, and one of the choices that a question has."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipvil_mmf.tasks.vqa import VisualQuestionAnswering

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


@dataclass
class AOKVQAConfig:
    """``params`` of the task ``aokvqa``: none."""


class AOKVQA(VisualQuestionAnswering):
    """A-OKVQA (arXiv 2206.01718) in both its settings, which one prediction file holds.

    The model is trained on the direct answers. Of a question's choices it takes the one that it
    gives the highest score, among those that are labels.
    """

    row_fields = ("question_id", "direct_answer")
    choice_field = "multiple_choice"

    def __init__(self, config: AOKVQAConfig) -> None:
        super().__init__(config)
        self._without_label = 0  # questions none of whose choices is a label

    def prediction_rows(
        self,
        ids: Sequence[int | str],
        scores: Tensor,
        labels: Sequence[str],
        choices: Sequence[Sequence[str]] = (),
    ) -> list[dict[str, Any]]:
        """See ``Task``; ``choices`` are those of each of the B samples."""
        rows = super().prediction_rows(ids, scores, labels)
        places = {label: place for place, label in enumerate(labels)}
        for row, found, given in zip(rows, scores.tolist(), choices, strict=True):
            known = {choice: found[places[choice]] for choice in given if choice in places}
            self._without_label += not known
            row["multiple_choice"] = max(known, key=known.__getitem__) if known else given[0]
        return rows

    def prediction_file(self, rows: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
        """The server's ``{question id: {"direct_answer": ..., "multiple_choice": ...}}``.

        How many questions have no choice among the labels is said in the log: the first of their
        choices is written.
        """
        if self._without_label:
            logger.warning(
                "%d questions have no choice that is among the model's answers; the first one is "
                "written",
                self._without_label,
            )
            self._without_label = 0
        return {row.pop("question_id"): row for row in rows}
