"""Right or wrong, and the loss, of the answers to all questions of a split at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.data.vqa_normalize import clean_answer, leave_one_out, normalize_answer
from clipvil_mmf.prediction.rules import (
    CLASS,
    DIRECT_ANSWER,
    EXACT,
    LABEL,
    MULTIPLE_CHOICE,
    NORMALIZED,
    OFFICIAL_VQA,
    SCORES,
)
from clipvil_mmf.prediction.truth import Truths

# Rules by which an answer's score stands in the label, to the letter or normalised; the others are
# computed a question at a time.
_LOOKED_UP = (EXACT, CLASS, LABEL, DIRECT_ANSWER, MULTIPLE_CHOICE, NORMALIZED, OFFICIAL_VQA)
_NORMALISED = (NORMALIZED, OFFICIAL_VQA)
LEAST_CONFIDENCE = 1e-6  # what prediction files round to


class Grader:
    """Scores answers to N labelled questions as ``prediction.scoring`` does.

    Args:
        table: the questions.
        chosen: whether answers are one of a question's choices (A-OKVQA).

    Attributes:
        rule: how, one of ``prediction.rules``.
        counted: (N,) bool, the questions that the data set's evaluation counts.
        answers: the different right answers.
        keys: (M,) int64, row * len(answers) + place in ``answers``, of each right answer; sorted.
        scores: (M,) float64, of these.
    """

    def __init__(self, table: QuestionTable, chosen: bool = False) -> None:
        truths = Truths(table, chosen)
        self.rule = truths.rule
        self._truths = None if self.rule in _LOOKED_UP else truths
        self.counted = np.ones(len(table), bool)
        if truths.left_out:
            self.counted = np.asarray([key not in truths.left_out for key in truths.ids])
        if chosen:
            correct = pa.array(table.correct_choices(), pa.string()).dictionary_encode()
            owners, codes = np.arange(len(table)), correct.indices.to_numpy()
            names, scores = correct.dictionary, np.ones(len(table))
        else:
            soft = table.answers_of(np.arange(len(table)))
            # An answer of two parts stands twice among the texts.
            texts = pa.array(table.answer_texts, pa.string()).dictionary_encode()
            owners, codes = soft.positions, texts.indices.to_numpy()[soft.rows]
            names, scores = texts.dictionary, soft.scores.astype(np.float64).round(6)
        self.answers: list[str] = names.to_pylist()
        keys = owners * np.int64(max(1, len(self.answers))) + codes
        order = np.argsort(keys, kind="stable")
        self.keys, self.scores = keys[order], scores[order]
        self._best = np.zeros(len(table))
        np.maximum.at(self._best, owners, scores)
        self._unanimous = _Unanimous(table) if self.rule == OFFICIAL_VQA else None

    def with_answer(self, answer: str) -> np.ndarray:
        """Which questions have a right answer that reads so, in capitals or not: (N,) bool."""
        wanted = answer.casefold()
        places = [n for n, text in enumerate(self.answers) if text.casefold() == wanted]
        found = np.zeros(len(self._best), bool)
        right = np.isin(self.keys % max(1, len(self.answers)), places) & (self.scores > 0)
        found[self.keys[right] // max(1, len(self.answers))] = True
        return found

    def frequent_answers(self, count: int) -> list[str]:
        """The answers that are right most often, the first one first."""
        counts = np.bincount(self.keys % max(1, len(self.answers)), minlength=len(self.answers))
        return [self.answers[place] for place in np.argsort(-counts, kind="stable")[:count]]

    def grade(self, codes: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """The scores of a run's answers.

        Args:
            codes: (N,) int32, places in ``names``; -1 where there is no answer.
            names: the different answers of the run.

        Returns:
            (N,) float64 in [0, 1]: 0 where there is no answer, nan where the evaluation does not
            count the question.
        """
        if self._truths is not None:
            found = _one_by_one(self._truths, np.flatnonzero(self.counted), codes, names)
        else:
            found = self._looked_up(np.arange(len(codes)), codes, names)
        if self._unanimous is not None:
            found = self._unanimous.grade(found, codes, names)
        return np.where(self.counted, found, np.nan)

    def losses(
        self, owners: np.ndarray, codes: np.ndarray, confidences: np.ndarray, names: Sequence[str]
    ) -> np.ndarray:
        """The negative logarithm of the right answer's confidence.

        Of several right answers the best-scored ones count, and of these the surest.

        Args:
            owners: (P,) rows, of each answer that has a confidence.
            codes: (P,) int32, its place in ``names``.
            confidences: (P,) float32 in [0, 1].
            names: the different answers of the run.

        Returns:
            (N,) float64; nan where no right answer has a confidence.
        """
        scores = self._looked_up(owners, codes, names)
        right = (scores > 0) & (scores >= self._best[owners])
        sure = np.full(len(self._best), np.nan)
        order = np.argsort(confidences[right], kind="stable")  # of the same row the surest is last
        sure[owners[right][order]] = confidences[right][order]
        return -np.log(np.maximum(sure, LEAST_CONFIDENCE)) + 0.0  # not -0

    def _looked_up(self, owners: np.ndarray, codes: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """The score of each answer in its question's label, 0 where it is not in there."""
        known = {text: place for place, text in enumerate(self.answers)}
        same = normalize_answer if self.rule in _NORMALISED else str
        # The last one is that of code -1.
        places = np.asarray([*(known.get(same(name), -1) for name in names), -1])[codes]
        if not len(self.keys):
            return np.zeros(len(codes))
        wanted = np.asarray(owners, np.int64) * len(self.answers) + places
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((places >= 0) & (self.keys[at] == wanted), self.scores[at], 0.0)


class _Unanimous:
    """The questions whose annotators all wrote the same: the official rule compares to the letter.

    Source: see ``prediction.vqa_accuracy``.
    """

    def __init__(self, table: QuestionTable) -> None:
        self._numbers: dict[str, int] = {}
        codes, scores = [], []
        for part in table.parts:
            (lists,) = part.table["given"].chunks
            written = [
                self._numbers.setdefault(clean_answer(text), len(self._numbers))
                for text in lists.values.dictionary.to_pylist()
            ]
            given = np.asarray(written)[lists.values.indices.to_numpy()]
            starts = lists.offsets.to_numpy()
            people = np.diff(starts)
            first, same = np.full(len(people), -1), people > 0
            # Between two starts stand the answers of one question, as nobody's take no room.
            least, most = (f.reduceat(given, starts[:-1][same]) for f in (np.minimum, np.maximum))
            first[same] = np.where(least == most, least, -1)
            known = {count: leave_one_out(count, count) for count in np.unique(people).tolist()}
            codes.append(first)
            scores.append(np.asarray([known[count] for count in people.tolist()]))
        self._codes, self._scores = np.concatenate(codes), np.concatenate(scores)

    def grade(self, found: np.ndarray, codes: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """``found``, the scores of a run's answers, with those of these questions put right."""
        places = [self._numbers.get(clean_answer(name), -2) for name in names]
        same = np.asarray([*places, -2])[codes] == self._codes  # the last one is that of code -1
        return np.where(self._codes >= 0, np.where(same, self._scores, 0.0), found)


def _one_by_one(
    truths: Truths, rows: np.ndarray, codes: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """The scores of answers, computed for one question of ``rows`` after the other."""
    found = np.zeros(len(codes))
    for row, truth in zip(rows.tolist(), truths, strict=True):
        if codes[row] >= 0:
            found[row] = SCORES[truths.rule](names[codes[row]], truth.answers)
    return found
