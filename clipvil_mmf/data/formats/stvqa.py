"""ST-VQA's JSON: ``{"data": [{"question_id", "question", "file_path", "answers", ...}, ...]}``.

Each of a question's ``answers`` is right, whatever its case; test files have none. ``file_path`` is
the image's path in the folder of its split. Source: https://rrc.cvc.uab.es/?ch=11.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.formats.textvqa import NOTE
from clipvil_mmf.data.table import QuestionTable, TableBuilder

__all__ = ["NAME", "NOTE", "read", "recognises"]

NAME = "ST-VQA JSON"


def recognises(file: QuestionFile) -> bool:
    """Whether ``data`` has questions about images that are named by their paths."""
    return any(
        key == "data" and isinstance(row, dict) and {"question", "file_path"} <= row.keys()
        for key, row in file.elements
    )


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file, see ``Format``."""
    (path,) = files
    builder = TableBuilder(NAME, str(path))
    for key, row in stream_json(path, progress):
        if key != "data":
            continue
        where = f"{path}: question {len(builder.ids)}"
        builder.add(
            rows.question_id(row, where),
            rows.text(row, ("question",), where),
            rows.text(row, ("file_path",), where),
            _answers(row, where),
            fields=row,
        )
    return builder.build()


def _answers(row: dict[str, Any], where: str) -> dict[str, float] | None:
    if row.get("answers") is None:
        return None
    given = rows.people(row["answers"], "answers", where)
    return {answer.lower().strip(): 1.0 for answer in given}
