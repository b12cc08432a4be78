"""The answer head of pre-training (LXMERT's table of 9500 answers) becomes a task's head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.text_files import TextFileError, read_labels

_ARTICLES = ("a ", "an ", "the ")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS: dict[str, str] = {
    **{word: str(number) for number, word in enumerate(_NUMBERS, 1)},
    # What a second article leaves: "the a man".
    **{f"{article} {who}": who for article in ("a", "the") for who in ("man", "woman")},
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


def rows_of(
    labels: Sequence[str], table: Sequence[str], form: Callable[[str], str] = str
) -> Tensor:
    """Which row of a table, that writes labels in this form, each label has.

    Returns:
        (labels,) int64, -1 for none.
    """
    place = {label: row for row, label in enumerate(table)}
    return torch.tensor([place.get(form(label), -1) for label in labels], dtype=torch.int64)


def take_rows(values: Tensor, rows: Tensor, others: Tensor | None = None) -> Tensor:
    """Rows of a head's weight (table, D) or bias (table,).

    Where a row is -1, that of ``others`` (labels, D) or (labels,), and zeros without it.
    """
    taken = values[rows.clamp(min=0)]
    lacking = rows < 0
    taken[lacking] = 0 if others is None else others[lacking].to(taken)
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
