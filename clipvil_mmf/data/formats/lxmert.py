"""LXMERT's JSON for VQA and GQA: ``[{"question_id", "sent", "img_id", "label"}, ...]``.

``img_id`` is an image's name without its ending, ``label`` maps answers to soft scores (test files
have none). Source: airsplay/lxmert.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipvil_mmf.data.columns import Columns, ColumnsBuilder, image_file
from clipvil_mmf.data.formats.json_stream import Progress, stream_json
from clipvil_mmf.data.formats.rows import field, kinds, label, name, question_id, text

NAME = "LXMERT JSON"


def recognises(key: str | None, value: Any) -> bool:
    """Whether the first element of the file is one of this format."""
    return key is None and isinstance(value, dict) and ("sent" in value or "img_id" in value)


def read(files: Sequence[Path], progress: Progress) -> Columns:
    """Read the questions of a file.

    Raises:
        AnnotationError: a row lacks a field, or has a bad one.
    """
    (path,) = files
    builder = ColumnsBuilder(NAME, str(path))
    for position, (_, row) in enumerate(stream_json(path, progress)):
        where = f"{path}: question {position}"
        builder.add(
            question_id(row, where),
            text(row, ("sent", "question"), where),
            image_file(name(field(row, ("img_id",), where), "img_id", where)),
            label(row, where),
            kinds(row, ("question_type", "answer_type"), where),
            row,
        )
    return builder.build()
