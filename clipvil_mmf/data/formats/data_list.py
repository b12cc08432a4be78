"""What TextVQA's and ST-VQA's JSON share: ``{"data": [question, ...], ...}``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.formats.rows import one_file
from clipvil_mmf.data.table import QuestionTable, TableBuilder

NOTE = "its questions ask for text in the images, which no model here reads"
_KEY = "data"


def has_questions(file: QuestionFile, image_field: str) -> bool:
    """Whether ``data`` has questions that name their images in this field."""
    return any(
        key == _KEY and isinstance(row, dict) and {"question", image_field} <= row.keys()
        for key, row in file.elements
    )


def read_questions(
    name: str,
    files: Sequence[Path],
    progress: Progress,
    add: Callable[[TableBuilder, Any, str], None],
) -> QuestionTable:
    """Read the questions of a file, see ``Format``.

    Args:
        name: of the format.
        files: the question file alone.
        progress: see ``Format.read``.
        add: adds a row to the table; its last argument says where the row is, for messages.
    """
    path = one_file(files, name)
    builder = TableBuilder(name, str(path))
    for key, row in stream_json(path, progress):
        if key == _KEY:
            add(builder, row, f"{path}: question {len(builder.ids)}")
    return builder.build()
