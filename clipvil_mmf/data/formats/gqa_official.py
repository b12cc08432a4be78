"""GQA's own JSON: ``{"<question id>": {"question", "imageId", "answer", "types", ...}, ...}``.

The submission questions have the same form without answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipvil_mmf.data.columns import Columns, ColumnsBuilder, image_file
from clipvil_mmf.data.formats.json_stream import Progress, stream_json
from clipvil_mmf.data.formats.rows import field, kinds, label, name, string, text
from clipvil_mmf.data.questions import AnnotationError

NAME = "official GQA JSON"
KINDS = ("structural", "semantic", "detailed")
# Whether a question is one of the balanced split, on which GQA is scored: yes or no.
BALANCED = "balanced"


def recognises(key: str | None, value: Any) -> bool:
    """Whether the first element of the file is one of this format."""
    return key is not None and isinstance(value, dict) and "imageId" in value


def read(files: Sequence[Path], progress: Progress) -> Columns:
    """Read the questions of a file.

    Raises:
        AnnotationError: a row lacks a field, or has a bad one.
    """
    (path,) = files
    builder = ColumnsBuilder(NAME, str(path))
    for key, row in stream_json(path, progress):
        where = f"{path}: question {key!r}"
        builder.add(
            string(key, "id", where),
            text(row, ("question",), where),
            image_file(name(field(row, ("imageId",), where), "imageId", where)),
            label(row, where),
            {**_types(row, where), **_balanced(row, where)},
            row,
        )
    return builder.build()


def _types(row: dict[str, Any], where: str) -> dict[str, str]:
    found = row.get("types")
    if not isinstance(found, dict | None):
        raise AnnotationError(f"{where} has the types {found!r}; expected an object with {KINDS}")
    return kinds(found or {}, KINDS, where)


def _balanced(row: dict[str, Any], where: str) -> dict[str, str]:
    balanced = row.get("isBalanced")
    if not isinstance(balanced, bool | None):
        raise AnnotationError(f"{where} has isBalanced {balanced!r}; expected true or false")
    return {} if balanced is None else {BALANCED: "yes" if balanced else "no"}
