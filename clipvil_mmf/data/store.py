"""Stores: a split's question files, converted once into Arrow files that processes map.

A store is a folder with ``questions.arrow``, ``images.arrow``, ``answers.arrow`` and ``store.json``
(version, recognised format, source files, counts). It appears complete or not at all. Its name ends
in a hash of where its files are (``store_path``): each set of files has a store of its own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from clipvil_mmf.atomic import replacing_folder
from clipvil_mmf.data.formats import read_columns
from clipvil_mmf.data.locking import StoreError, explained, locked
from clipvil_mmf.data.table import (
    ANSWERS,
    DESCRIPTION,
    IMAGES,
    QUESTIONS,
    QuestionTable,
    arrow_tables,
    describe,
)

__all__ = ["StoreError", "is_fresh", "open_or_convert", "store_path"]

logger = logging.getLogger(__name__)

# Raised with every change of what a store holds: older ones are then converted anew.
_VERSION = 2


def store_path(files: Sequence[Path], folder: Path) -> Path:
    """Where the store of these files lies: ``folder`` with a hash of their paths behind its name.

    Files of one name in two folders have two stores, and data may be moved together with its
    stores: the paths that count are those from the stores to the files.
    """
    places = [os.path.relpath(file, folder.parent) for file in files]
    key = hashlib.sha256("\0".join(places).encode(errors="surrogateescape")).hexdigest()[:8]
    return folder.with_name(f"{folder.name}-{key}")


def open_or_convert(files: Sequence[Path], folder: Path, progress: bool = False) -> QuestionTable:
    """Open the store of a split; convert its files first if they have changed since.

    Several processes may call this at once: one converts, the others wait.

    Args:
        files: of the split, see ``formats.read_columns``.
        folder: the folder of the stores, and the first part of this one's name (``store_path``).
        progress: show a bar while converting.

    Raises:
        FileNotFoundError: a file is missing.
        AnnotationError: a file cannot be used.
        StoreError: the store cannot be written (disk full, no permission), or is damaged.
    """
    store = store_path(files, folder)
    if not is_fresh(folder, files):
        with locked(store):
            if not is_fresh(folder, files):
                _convert(files, store, progress)
    try:
        return QuestionTable.open(store)
    except (OSError, pa.ArrowInvalid) as e:
        raise StoreError(
            f"The store {store} is damaged: {e}. Delete this folder; it is converted anew at the "
            "next start"
        ) from e


def is_fresh(folder: Path, files: Sequence[Path]) -> bool:
    """Whether the store is there and was made from these files as they are now.

    Args:
        folder: as for ``open_or_convert``.
        files: of the split.

    Raises:
        FileNotFoundError: a file is missing.
    """
    description = store_path(files, folder) / DESCRIPTION
    if not description.is_file():
        return False
    try:
        known = json.loads(description.read_text(encoding="utf-8"))
    # Another process is just replacing the store, or the file is damaged.
    except (FileNotFoundError, ValueError):
        return False
    return known.get("version") == _VERSION and known.get("files") == _fingerprint(files)


def _fingerprint(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Names without folders: data may be moved together with its stores."""
    found = []
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"Question file {file} does not exist; expected a JSON or npy file"
            )
        state = file.stat()
        found.append({"name": file.name, "bytes": state.st_size, "modified": state.st_mtime_ns})
    return found


def _convert(files: Sequence[Path], folder: Path, progress: bool) -> None:
    fingerprint = _fingerprint(files)
    size = sum(file["bytes"] for file in fingerprint)
    names = " + ".join(file["name"] for file in fingerprint)
    with tqdm(
        total=size, desc=f"converting {names}", unit="B", unit_scale=True, disable=not progress
    ) as bar:
        columns = read_columns(files, bar.update)
    with explained(folder), replacing_folder(folder) as partial:
        for name, table in zip((QUESTIONS, IMAGES, ANSWERS), arrow_tables(columns), strict=True):
            _write_table(partial / name, table)
        description = {"version": _VERSION, **describe(columns), "files": fingerprint}
        text = json.dumps(description, indent=2) + "\n"
        (partial / DESCRIPTION).write_text(text, encoding="utf-8")
    logger.info(
        "%s: recognised as %s, %d questions on %d images; kept in %s",
        names,
        columns.format,
        len(columns.ids),
        len(columns.images),
        folder,
    )


def _write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        # One batch: a mapped column is then one array.
        writer.write_table(table, max_chunksize=max(1, table.num_rows))
