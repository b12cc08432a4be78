"""The answer head of pre-training (LXMERT's table of 9500 answers) becomes a task's head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.text_files import TextFileError, read_labels

_ARTICLES = ("a ", "an ", "the ")
_WORDS: dict[str, str] = {
    # What a second article leaves: "the a man".
    "a man": "man",
    "the man": "man",
    "a woman": "woman",
    "the woman": "woman",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "grey": "gray",
}


def pretraining_form(answer: str) -> str:
    """An answer as LXMERT's pre-training table writes it (airsplay/lxmert, AnswerTable).

    Lower case; a final "." goes; then "a ", "an " and "the ", each once and in that order, and with
    each of these the blanks around what is left. Of whole answers, "one" to "ten" become digits,
    "grey" becomes "gray", and "man" and "woman" lose one more "a" or "the".
    """
    answer = answer.lower()
    if answer.endswith("."):
        answer = answer[:-1].strip()
    for article in _ARTICLES:
        if answer.startswith(article):
            answer = answer[len(article) :].strip()
    return _WORDS.get(answer, answer)


@dataclass(frozen=True)
class AnswerMap:
    """Which row of the pre-training table each answer of a task takes.

    Args:
        rows: (answers,) int64; -1 where the table lacks the answer.
        missing: the answers that it lacks.
    """

    rows: Tensor
    missing: list[str]

    def __str__(self) -> str:
        found = len(self.rows) - len(self.missing)
        return f"{found} answers found in the pre-training table, {len(self.missing)} not"


def map_answers(answers: Sequence[str], table: Sequence[str]) -> AnswerMap:
    """Look up a task's answers in the pre-training table, by their normalised text."""
    row_of = {answer: row for row, answer in enumerate(table)}
    rows = [row_of.get(pretraining_form(answer), -1) for answer in answers]
    missing = [answer for answer, row in zip(answers, rows, strict=True) if row < 0]
    return AnswerMap(torch.tensor(rows, dtype=torch.int64), missing)


def take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Rows of a head's weight (answers, D) or bias (answers,); zeros where a row is -1."""
    taken = values[rows.clamp(min=0)]
    taken[rows < 0] = 0
    return taken


def read_answer_table(path: str | Path) -> list[str]:
    """Read the answers of a head, such as LXMERT's ``all_ans.json``, in row order.

    Raises:
        CheckpointError: no such file, or it holds something else.
    """
    try:
        return read_labels(path)
    except (FileNotFoundError, TextFileError) as error:
        raise CheckpointError(str(error)) from error
