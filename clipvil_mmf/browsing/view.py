"""Which questions filters leave, in which order, and how the runs fare on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from clipvil_mmf.browsing.filters import (
    BOTH,
    DIFFER,
    ONLY_OTHER,
    ONLY_THIS,
    RIGHT,
    UNANSWERED,
    WRONG,
    FilterError,
    Filters,
)
from clipvil_mmf.browsing.grading import Grader
from clipvil_mmf.browsing.questions import Questions
from clipvil_mmf.browsing.runs import Run, read_run
from clipvil_mmf.data.table import QuestionTable

_KEPT = 32  # views whose rows are kept
_SUGGESTED = 200  # answers


@dataclass(frozen=True)
class Summary:
    """How a run fares on the questions of a view."""

    name: str
    accuracy: float | None  # percent of the questions that count; None: right answers unknown
    counted: int
    right: int
    wrong: int
    unanswered: int
    confidence: float | None  # the mean, in percent
    losses: int  # known ones, bounds among them


class Browser:
    """Questions and runs side by side.

    Args:
        questions: N of them.
        runs: their answers, with different names.
        grader: knows the right answers; None where they are not known.
    """

    def __init__(self, questions: Questions, runs: Sequence[Run], grader: Grader | None) -> None:
        self.questions, self.grader = questions, grader
        self.runs = {run.name: run for run in runs}
        self.run_names = list(self.runs)
        self.rows = lru_cache(_KEPT)(self._rows)
        # What a visitor may want to choose from.
        self.frequent_answers = [] if grader is None else grader.frequent_answers(_SUGGESTED)

    @classmethod
    def of_files(
        cls,
        name: str,
        table: QuestionTable,
        folder: Path,
        files: Mapping[str, Path],
        say: Callable[[str], object] = str,
    ) -> Browser:
        """Read prediction files beside questions, and grade them.

        Args:
            name: what the questions are called.
            table: the questions.
            folder: of their images.
            files: name of a run -> its prediction file.
            say: called with a line for each file.
        """
        found = table.choices()
        choices = None if found is None else dict(zip(table.ids(), found, strict=True))
        runs = []
        for run_name, file in files.items():
            run = read_run(run_name, file, table, choices)
            answered = int(run.answered.sum())
            missing = f", {len(table) - answered:,} without" if answered < len(table) else ""
            say(f"{run_name}: {answered:,} answers{missing}, of {file}")
            runs.append(run)
        grader = Grader(table) if table.is_labelled else None
        chosen = grader
        if any(run.is_chosen for run in runs) and table.correct_choices() is not None:
            chosen = Grader(table, chosen=True)
        for run in runs:
            by = chosen if run.is_chosen else grader
            if by is not None:
                run.grade(by)
        return cls(Questions(name, table, folder), runs, grader)

    def read_filters(self, query: str) -> Filters:
        """The filters of an address; raises ``FilterError``."""
        kinds = {name: kind.names for name, kind in self.questions.kinds.items()}
        return Filters.from_query(query, self.run_names, kinds)

    def run_of(self, filters: Filters) -> Run | None:
        """The run that filters are about."""
        return self.runs.get(filters.run_of(self.run_names))

    def verdict(self, run: Run, row: int) -> str:
        """``RIGHT``, ``WRONG``, ``UNANSWERED``, or '' where that is not known."""
        if not run.answered[row]:
            return UNANSWERED
        if run.scores is None or np.isnan(run.scores[row]):
            return ""
        return RIGHT if run.scores[row] > 0 else WRONG

    def summary(self, run: Run, rows: np.ndarray) -> Summary:
        """How a run fares on these questions; an unanswered one counts as wrong."""
        answered = run.answered[rows]
        confidences = run.confidences[rows]
        known = confidences[~np.isnan(confidences)]
        confidence = 100 * float(known.mean(dtype=np.float64)) if len(known) else None
        losses = int((~np.isnan(run.losses[rows])).sum())
        unanswered = int((~answered).sum())
        if run.scores is None:
            return Summary(run.name, None, 0, 0, 0, unanswered, confidence, losses)
        scores = run.scores[rows]
        counted = int((~np.isnan(scores)).sum())
        accuracy = 100 * float(np.nansum(scores)) / counted if counted else None
        right, wrong = int((scores > 0).sum()), int((answered & (scores == 0)).sum())
        return Summary(run.name, accuracy, counted, right, wrong, unanswered, confidence, losses)

    def _rows(self, filters: Filters) -> np.ndarray:
        """The rows of the questions that filters leave, in their order: (n,) int32."""
        kept = np.ones(len(self.questions), bool)
        for mask in (*self._of_questions(filters), *self._of_run(filters)):
            kept &= mask
        rows = np.flatnonzero(kept).astype(np.int32)
        name = filters.sort.lstrip("-")
        if name == "id":
            return self.questions.by_id(rows)
        run = self.run_of(filters)
        if not name or run is None:
            return rows
        values = (run.losses if name == "loss" else run.confidences)[rows]
        # nan, what is not known, comes last in any case.
        order = np.argsort(-values if filters.sort.startswith("-") else values, kind="stable")
        return rows[order]

    def _of_questions(self, filters: Filters) -> list[np.ndarray]:
        questions = self.questions
        masks = [
            questions.kinds[kind].codes == questions.kinds[kind].names.index(name)
            for kind, name in filters.kinds
        ]
        if filters.text:
            masks.append(questions.with_text(filters.text))
        if filters.id:
            masks.append(questions.with_id(filters.id))
        if filters.image:
            masks.append(questions.with_image(filters.image))
        if filters.answer:
            masks.append(self._known("answer").with_answer(filters.answer))
        return masks

    def _of_run(self, filters: Filters) -> list[np.ndarray]:
        run = self.run_of(filters)
        if run is None:
            return []
        masks = []
        if filters.verdict == UNANSWERED:
            masks.append(~run.answered)
        elif filters.verdict:
            self._known("verdict")
            masks += [run.answered, _is_right(run, filters.verdict == RIGHT)]
        if filters.said:
            masks.append(run.saying(filters.said))
        # float32 may not have the number that was typed.
        slack = 1e-6
        if filters.least is not None:
            masks.append(run.confidences >= filters.least / 100 - slack)
        if filters.most is not None:
            masks.append(run.confidences <= filters.most / 100 + slack)
        if filters.compare:
            masks += self._compared(run, self.runs[filters.other_of(self.run_names)], filters)
        return masks

    def _compared(self, run: Run, other: Run, filters: Filters) -> list[np.ndarray]:
        if filters.compare == DIFFER:
            return [run.unlike(other)]
        self._known("compare")
        # An unanswered question counts as wrong.
        mine, theirs = filters.compare in (ONLY_THIS, BOTH), filters.compare in (ONLY_OTHER, BOTH)
        return [_is_right(run, mine), _is_right(other, theirs)]

    def _known(self, name: str) -> Grader:
        if self.grader is None:
            raise FilterError(f"{name}: the right answers of {self.questions.name} are not known")
        return self.grader


def _is_right(run: Run, wanted: bool) -> np.ndarray:
    """Which questions it answers right, or wrong (or not at all): (N,) bool."""
    if run.scores is None:
        return np.zeros(len(run.codes), bool)
    return run.scores > 0 if wanted else run.scores == 0
