"""A file format: `.tsv` files with the columns question_id, image, question and answer."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile
from clipvil_mmf.data.formats.rows import label, text
from clipvil_mmf.data.table import QuestionTable, TableBuilder


def recognises(file: QuestionFile) -> bool:
    """Whether the file is named so."""
    return file.path.suffix == ".tsv"


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file.

    Raises:
        AnnotationError: a row lacks a column.
    """
    (path,) = files
    builder = TableBuilder("tsv", str(path))
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file, delimiter="\t")):
            where = f"{path}: question {number}"
            builder.add(
                text(row, ("question_id",), where),
                text(row, ("question",), where),
                text(row, ("image",), where),
                label(row, where),
                fields=row,
            )
            progress(sum(len(value or "") + 1 for value in row.values()))
    return builder.build()
