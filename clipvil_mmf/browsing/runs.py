"""A prediction file as columns beside the questions that it answers."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipvil_mmf.browsing.grading import LEAST_CONFIDENCE, Grader
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.prediction.submission import (
    Layout,
    SubmissionError,
    layout_of_rows,
    read_answers,
)
from clipvil_mmf.tasks.confidence import CONFIDENCE, TOP
from clipvil_mmf.text_files import READ_ERRORS, open_text

_BLOCK = 1 << 20  # characters of a file whose rows are Python objects at a time


class Run:
    """The answers of a prediction file to N questions.

    Args:
        name: what it is called on the page.
        file: where it is read from.
        names: the different answers.
        codes: (N,) int32, the answer to each question, a place in ``names``; -1 for none.
        confidences: (N,) float32; nan where there is none.
        tops: (N + 1,) int64, where a question's further answers begin in the following two.
        top_codes: (P,) int32, places in ``names``.
        top_confidences: (P,) float32.
        is_chosen: whether answers are one of a question's choices (A-OKVQA).

    Attributes:
        scores: (N,) float64, 0 where there is no answer, nan where the evaluation does not count
            the question; None where the right answers are not known.
        losses: (N,) float64, the negative logarithm of the right answer's confidence; nan where
            that is not known, as where there are no confidences.
        is_bound: (N,) bool, where the loss is at least this: the right answer is none of the
            further answers, so its confidence is below the least of theirs.
    """

    def __init__(
        self,
        name: str,
        file: Path,
        names: Sequence[str],
        codes: np.ndarray,
        confidences: np.ndarray,
        tops: np.ndarray,
        top_codes: np.ndarray,
        top_confidences: np.ndarray,
        is_chosen: bool = False,
    ) -> None:
        self.name, self.file, self.is_chosen = name, file, is_chosen
        self.names, self.codes, self.confidences = names, codes, confidences
        self._tops, self._top_codes, self._top_confidences = tops, top_codes, top_confidences
        self.scores: np.ndarray | None = None
        self.losses = np.full(len(codes), np.nan)
        self.is_bound = np.zeros(len(codes), bool)

    @property
    def answered(self) -> np.ndarray:
        """(N,) bool."""
        return self.codes >= 0

    @property
    def is_sure(self) -> bool:
        """Whether any answer has a confidence."""
        return not np.isnan(self.confidences).all()

    @property
    def has_losses(self) -> bool:
        """Whether any loss is known."""
        return not np.isnan(self.losses).all()

    def answer(self, row: int) -> str | None:
        """The answer to a question."""
        return self.names[self.codes[row]] if self.codes[row] >= 0 else None

    def top(self, row: int) -> list[tuple[str, float]]:
        """Its best answers to a question with their confidences, where the file has them."""
        places = range(self._tops[row], self._tops[row + 1])
        return [
            (self.names[self._top_codes[place]], float(self._top_confidences[place]))
            for place in places
        ]

    def saying(self, answer: str) -> np.ndarray:
        """Which questions it answers so, in capitals or not: (N,) bool."""
        wanted = answer.casefold()
        places = [place for place, name in enumerate(self.names) if name.casefold() == wanted]
        return np.isin(self.codes, places)

    def unlike(self, other: Run) -> np.ndarray:
        """Which questions both answer, but not alike: (N,) bool."""
        places = {name: place for place, name in enumerate(self.names)}
        same = np.asarray([*(places.get(name, -2) for name in other.names), -1])[other.codes]
        return self.answered & other.answered & (same != self.codes)

    def grade(self, grader: Grader) -> None:
        """Find ``scores`` and ``losses``."""
        self.scores = grader.grade(self.codes, self.names)
        counts = np.diff(self._tops)
        own = self.answered & ~np.isnan(self.confidences)
        owners = np.concatenate([np.repeat(np.arange(len(counts)), counts), np.flatnonzero(own)])
        codes = np.concatenate([self._top_codes, self.codes[own]])
        sure = np.concatenate([self._top_confidences, self.confidences[own]])
        self.losses = grader.losses(owners, codes, sure, self.names)
        self.is_bound = np.isnan(self.losses) & (counts > 1)
        if self.is_bound.any():
            least = np.minimum.reduceat(self._top_confidences, self._tops[:-1][counts > 0])
            bounds = np.full(len(counts), np.nan)
            bounds[counts > 0] = -np.log(np.maximum(least, LEAST_CONFIDENCE))
            self.losses = np.where(self.is_bound, bounds, self.losses)


def read_run(
    name: str, file: Path, table: QuestionTable, choices: Mapping[Any, Sequence[str]] | None
) -> Run:
    """Read a prediction file of the formats that ``clipvil score`` reads.

    Args:
        name: of the run.
        file: with answers to some or all of the questions, and none else.
        table: the N questions.
        choices: what there is to choose from for each id, if there is.

    Raises:
        FileNotFoundError: there is no such file.
        SubmissionError: it is not a prediction file, or does not fit the questions.
    """
    places = {key: row for row, key in enumerate(table.ids())}
    columns = _Columns(name, file, places)
    try:
        with _uncollected():
            for rows in _blocks(file):
                columns.add_rows(rows)
    # What is not a plain list of rows in order is read, and its faults are named, by others.
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError, *READ_ERRORS):
        return _read_whole(name, file, places, choices)
    return columns.run() if columns.is_filled else _read_whole(name, file, places, choices)


def _read_whole(
    name: str,
    file: Path,
    places: Mapping[Any, int],
    choices: Mapping[Any, Sequence[str]] | None,
) -> Run:
    """A run of any file, whose rows are all held meanwhile; see ``read_run``."""
    found = read_answers(file, places.keys(), choices=choices)
    is_chosen = not found.predictions
    answers = found.chosen if is_chosen else found.predictions
    sure = found.choice_confidences if is_chosen else found.confidences
    columns = _Columns(name, file, places)
    keys = list(answers)
    confidences = [sure.get(key) for key in keys]
    try:
        columns.add(keys, list(answers.values()), confidences, [found.top.get(key) for key in keys])
    except UnicodeEncodeError as error:  # half of a pair, which JSON can spell
        raise SubmissionError(
            f"{file} has an answer that is not valid Unicode ({error})"
        ) from error
    return columns.run(is_chosen)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for cycles, of which JSON makes none; that would take half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _blocks(file: Path) -> Iterator[list[Any]]:
    """The rows of a JSON list, some thousands at a time; ``ValueError``: it is not one.

    What is cut between two objects is decoded as two lists: if both are lists, their rows are those
    of the whole one, and where a cut falls into a text or a nested object they are not.
    """
    with open_text(file) as source:
        held = source.read(_BLOCK).lstrip()
        if not held.startswith("["):
            raise ValueError("it is not a list")
        held = held[1:]
        while more := source.read(_BLOCK):
            held += more
            last = held.rfind("{")
            before = held[: max(last, 0)].rstrip()
            if before.endswith(",") and before[:-1].rstrip().endswith("}"):
                yield json.loads(f"[{before[:-1]}]")
                held = held[last:]
        if rows := json.loads(f"[{held}"):
            yield rows


class _Columns:
    """Columns of a run, filled block by block; what is not in order is a ValueError or the like."""

    def __init__(self, name: str, file: Path, places: Mapping[Any, int]) -> None:
        self._name, self._file, self._places = name, file, places
        self._layout: Layout | None = None
        self._names: dict[str, int] = {}
        self._codes = np.full(len(places), -1, np.int32)
        self._confidences = np.full(len(places), np.nan, np.float32)
        self._tops: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    @property
    def is_filled(self) -> bool:
        """Whether any row was added."""
        return self._layout is not None

    def add_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows as a file has them."""
        self._layout = self._layout or layout_of_rows(rows)
        id_key, answer_key = self._layout.id_key, self._layout.answer_key
        if self._layout.choice_key is not None or self._layout.is_number:
            raise ValueError("its rows have more than an answer, or another")
        keys = [row[id_key] for row in rows]
        if not {type(key) for key in keys} <= {int, str}:
            raise ValueError("ids of another type")
        answers = [row[answer_key] for row in rows]
        self.add(
            keys, answers, [row.get(CONFIDENCE) for row in rows], [row.get(TOP) for row in rows]
        )

    def add(
        self,
        keys: Sequence[Any],
        answers: Sequence[str],
        confidences: Sequence[float | None],
        tops: Sequence[Sequence[Sequence[Any]] | None],
    ) -> None:
        """Add answers to the questions of these ids, with further ones."""
        rows = np.asarray([self._places[key] for key in keys])
        if len(np.unique(rows)) < len(rows) or (self._codes[rows] >= 0).any():
            raise ValueError("doubled ids")
        self._codes[rows] = self._coded(answers)
        self._confidences[rows] = _checked(confidences)
        counts = np.asarray([len(pairs or ()) for pairs in tops])
        pairs = [pair for pairs in tops if pairs for pair in pairs]
        if pairs:
            further, sure = zip(*pairs, strict=True)
            if None in sure:
                raise ValueError("answers without a confidence")
            self._tops.append((np.repeat(rows, counts), self._coded(further), _checked(sure)))

    def _coded(self, answers: Sequence[str]) -> np.ndarray:
        """The places of answers among the names, to which new ones are added: int32."""
        found = pa.array(answers, pa.string()).dictionary_encode()
        if found.null_count:
            raise ValueError("answers that are null")
        names = found.dictionary.to_pylist()
        places = [self._names.setdefault(name, len(self._names)) for name in names]
        return np.asarray(places, np.int32)[found.indices.to_numpy()]

    def run(self, is_chosen: bool = False) -> Run:
        """The run with all that was added."""
        owners, codes, sure = np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
        if self._tops:
            parts = zip(*self._tops, strict=True)
            owners, codes, sure = (np.concatenate(part) for part in parts)
        order = np.argsort(owners, kind="stable")
        counts = np.bincount(owners, minlength=len(self._codes))
        starts = np.concatenate([[0], np.cumsum(counts)])
        tops = starts, codes[order], sure[order]
        given = self._codes, self._confidences
        return Run(self._name, self._file, list(self._names), *given, *tops, is_chosen)


def _checked(confidences: Sequence[float | None]) -> np.ndarray:
    """Confidences as (n,) float32, nan for None; ``ValueError``: one is not in [0, 1]."""
    if bool in {type(one) for one in confidences}:
        raise ValueError("not numbers")
    column = pa.array(confidences, pa.float64())
    found = column.to_numpy(zero_copy_only=False)
    # NaN, which JSON files may spell, is neither in there nor missing.
    if ((found >= 0) & (found <= 1)).sum() + column.null_count < len(found):
        raise ValueError("not in [0, 1]")
    return found.astype(np.float32)
