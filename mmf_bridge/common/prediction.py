"""Prediction files: each question once, whatever the split size and the number of processes."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from typing import Any

from mmf_bridge.common.distributed import gather_objects
from mmf_bridge.common.whole_files import replacing

_IDS = ("question_id", "questionId", "id", "image_id")


def row_id(row: dict[str, Any]) -> Any:
    """What identifies a prediction row, or None if it carries no id."""
    return next((row[key] for key in _IDS if key in row), None)


def gather_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of all processes, in rank order, without the exact repeats of padded batches."""
    gathered = [row for shard in gather_objects(list(rows)) for row in shard]
    seen: set[Any] = set()
    unique = []
    for row in gathered:
        key = row_id(row)
        if key is None or (type(key), key) not in seen:
            unique.append(row)
            seen.add((type(key), key))
    return unique


def write_rows(rows: Sequence[dict[str, Any]], path: str | os.PathLike[str]) -> None:
    """Write rows as JSON, or as CSV where the name ends so; the file appears whole or not at all.

    Raises:
        OSError: the file could not be written.
    """
    try:
        with replacing(path) as partial, partial.open("w", newline="") as f:
            if os.fspath(path).endswith(".csv"):
                writer = csv.DictWriter(f, rows[0].keys() if rows else [])
                writer.writeheader()
                writer.writerows(rows)
            else:
                json.dump(list(rows), f)
    except OSError as e:
        raise OSError(
            f"Could not write the predictions {path}: {e}. Free some disk space or choose another "
            "env.report_dir"
        ) from e
