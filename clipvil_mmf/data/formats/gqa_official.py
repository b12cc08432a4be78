"""GQA's own JSON: ``{"<question id>": {"question", "imageId", "answer", "types", ...}, ...}``.

The submission questions have the same form without answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipvil_mmf.data.columns import Columns, ColumnsBuilder, image_file
from clipvil_mmf.data.formats.json_stream import Progress, stream_json
from clipvil_mmf.data.formats.rows import field, kinds, label

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
            str(key),
            str(field(row, ("question",), where)),
            image_file(str(field(row, ("imageId",), where))),
            label(row, where),
            {**kinds(row.get("types") or {}, KINDS), **_balanced(row)},
        )
    return builder.build()


def _balanced(row: dict[str, Any]) -> dict[str, str]:
    balanced = row.get("isBalanced")
    return {} if balanced is None else {BALANCED: "yes" if balanced else "no"}
