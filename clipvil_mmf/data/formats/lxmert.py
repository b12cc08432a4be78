"""LXMERT's JSON for VQA and GQA: ``[{"question_id", "sent", "img_id", "label"}, ...]``.

``img_id`` is an image's name without its ending, ``label`` maps answers to soft scores (test files
have none). Source: airsplay/lxmert.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.table import QuestionTable, TableBuilder

NAME = "LXMERT JSON"


def recognises(file: QuestionFile) -> bool:
    """Whether the first element is a row of this format."""
    key, row = next(iter(file.elements), (None, None))
    return key is None and isinstance(row, dict) and ("sent" in row or "img_id" in row)


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file, see ``Format``."""
    path = rows.one_file(files, NAME)
    builder = TableBuilder(NAME, str(path))
    for position, (_, row) in enumerate(stream_json(path, progress)):
        where = f"{path}: question {position}"
        builder.add(
            rows.question_id(row, where),
            rows.text(row, ("sent", "question"), where),
            rows.image_file(rows.name(rows.field(row, ("img_id",), where), "img_id", where)),
            rows.label(row, where),
            rows.kinds(row, ("question_type", "answer_type"), where),
            row,
        )
    return builder.build()
