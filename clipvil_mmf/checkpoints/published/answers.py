"""The answer head of pre-training (LXMERT's table of 9500 answers) becomes a task's head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.text_files import TextFileError, read_labels


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
