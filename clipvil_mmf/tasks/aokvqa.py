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
    """``params`` of the task ``aokvqa``."""

    # GloVe's vectors: a file, or the name of one in env.cache_dir (glove.6B.300d). Where none of a
    # question's choices is a label, the one nearest to the direct answer is taken; null: the first.
    word_vectors: str | None = None


class AOKVQA(VisualQuestionAnswering):
    """A-OKVQA (arXiv 2206.01718) in both its settings, which one prediction file holds.

    The model is trained on the direct answers. Of a question's choices it takes the one that it
    gives the highest score, among those that are labels. Where none is, word vectors decide by the
    rule of the official code for models that answer freely (``remap_predictions.py``): the cosine
    between the means of the words' vectors.
    """

    row_fields = ("question_id", "direct_answer")
    choice_field = "multiple_choice"

    def __init__(self, config: AOKVQAConfig) -> None:
        super().__init__(config)
        self._without_label = 0  # questions none of whose choices is a label
        self._first = 0  # of these, questions whose first choice is taken
        self._words: tuple[dict[str, int], Tensor] | None = None  # the vectors, once they are read

    def prediction_rows(
        self,
        ids: Sequence[int | str],
        scores: Tensor,
        labels: Sequence[str],
        choices: Sequence[Sequence[str]] = (),
    ) -> list[dict[str, Any]]:
        """See ``Task``; ``choices`` are those of each of the B samples.

        Raises:
            FileNotFoundError, ValueError: the word vectors are missing or cannot be read.
        """
        if self.config.word_vectors is not None and self._words is None:
            from mmf_bridge.common.word_vectors import word_vectors

            self._words = word_vectors(self.config.word_vectors, _cache_dir())
        rows = super().prediction_rows(ids, scores, labels)
        places = {label: place for place, label in enumerate(labels)}
        for row, found, given in zip(rows, scores.tolist(), choices, strict=True):
            known = {choice: found[places[choice]] for choice in given if choice in places}
            row["multiple_choice"] = (
                max(known, key=known.__getitem__)
                if known
                else self._nearest(row["direct_answer"], given)
            )
        return rows

    def _nearest(self, answer: str, choices: Sequence[str]) -> str:
        """The choice whose words are nearest to the answer's; the first one where none has any."""
        self._without_label += 1
        wanted = self._mean_vector(answer)
        near = {}
        for choice in choices if wanted is not None else ():
            vector = self._mean_vector(choice)
            if vector is not None:
                near[choice] = float(vector @ wanted)
        if near:
            return max(near, key=near.__getitem__)
        self._first += 1
        return choices[0]

    def _mean_vector(self, text: str) -> Tensor | None:
        """(width,), of length 1: the mean of the vectors of the words that have some."""
        if self._words is None:
            return None
        places, vectors = self._words
        rows = [places[word] for word in text.lower().split() if word in places]
        if not rows:
            return None
        mean = vectors[rows].mean(dim=0)
        return mean / mean.norm().clamp_min(1e-12)

    def prediction_file(self, rows: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
        """The server's ``{question id: {"direct_answer": ..., "multiple_choice": ...}}``.

        How many questions have no choice among the labels is said in the log, and what is written.
        """
        if self._without_label:
            hint = ""
            if self.config.word_vectors is None:
                hint = "; with task.params.word_vectors=glove.6B.300d it is the nearest one"
            logger.warning(
                "%d questions have no choice that is among the model's answers; for %d of them the "
                "first one is written%s",
                self._without_label,
                self._first,
                hint,
            )
            self._without_label = self._first = 0
        return {row.pop("question_id"): row for row in rows}


def _cache_dir() -> str:
    from mmf.utils.configuration import get_mmf_cache_dir

    return get_mmf_cache_dir()
