"""GQA's own JSON: ``{"<question id>": {"question", "imageId", "answer", "types", ...}, ...}``.

The submission questions have the same form without answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder

NAME = "official GQA JSON"
KINDS = ("structural", "semantic")


def recognises(file: QuestionFile) -> bool:
    """Whether the first element is a row of this format."""
    key, row = next(iter(file.elements), (None, None))
    return key is not None and isinstance(row, dict) and "imageId" in row


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file, see ``Format``."""
    path = rows.one_file(files, NAME)
    builder = TableBuilder(NAME, str(path))
    for key, row in stream_json(path, progress):
        where = f"{path}: question {key!r}"
        builder.add(
            rows.string(key, "id", where),
            rows.text(row, ("question",), where),
            rows.image_file(rows.name(rows.field(row, ("imageId",), where), "imageId", where)),
            rows.label(row, where),
            {**_types(row, where), **_balanced(row, where)},
            row,
        )
    return builder.build()


def _types(row: dict[str, Any], where: str) -> dict[str, str]:
    found = row.get("types")
    if not isinstance(found, dict | None):
        raise AnnotationError(
            f"{where} has the types {short(found)}; expected an object with {KINDS}"
        )
    return rows.kinds(found or {}, KINDS, where)


def _balanced(row: dict[str, Any], where: str) -> dict[str, str]:
    balanced = row.get("isBalanced")
    if not isinstance(balanced, bool | None):
        raise AnnotationError(f"{where} has isBalanced {short(balanced)}; expected true or false")
    return {} if balanced is None else {"balanced": "yes" if balanced else "no"}
