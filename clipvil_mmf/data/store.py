"""Stores: a split's question files, converted once into an Arrow file that processes map.

A store is a folder with a table (``table.py``), whose name is its checksum, and ``store.json``: the
version, the table's name, and of each source file its name, size, times and SHA-256. It appears
complete or not at all. Its own name ends in a hash of where its files are (``store_path``), so each
set of files has a store of its own. A store whose files have changed, or which is damaged, is made
anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipvil_mmf.atomic import replacing_folder
from clipvil_mmf.data.formats import read_table
from clipvil_mmf.data.locking import StoreError, explained, locked, writing
from clipvil_mmf.data.table import Part, QuestionTable, check_table, map_table
from mmf_bridge.common.checksums import sha256_of
from mmf_bridge.common.progress import Progress

__all__ = ["StoreError", "is_fresh", "open_or_convert", "open_or_read", "store_path"]

logger = logging.getLogger(__name__)

# Raised with every change of what a store holds: older ones are then converted anew.
_VERSION = 5
DESCRIPTION = "store.json"
_BLOCK = 2**20  # bytes of a table that are read at once for its checksum


class _DamageError(Exception):
    """A store that cannot be used; the message says what is wrong with it."""


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
        files: of the split, see ``formats.read_table``.
        folder: the folder of the stores, and the first part of this one's name (``store_path``).
        progress: show a bar while converting.

    Raises:
        FileNotFoundError, AnnotationError: a file is missing, or cannot be used.
        StoreError: the store cannot be written (disk full, no permission).
    """
    store = store_path(files, folder)
    with suppress(_DamageError):  # another process may be replacing it: the lock will tell
        if is_fresh(folder, files):
            return _open(store)
    with locked(store):
        try:
            if is_fresh(folder, files):
                return _open(store)
        except _DamageError as damage:
            logger.warning("The store %s is damaged (%s); it is made anew", store, damage)
        _convert(files, store, progress)
        try:
            return _open(store)
        except _DamageError as damage:
            raise StoreError(
                f"The store {store} was damaged as it was written ({damage}). Check the disk, or "
                "name another folder in the dataset's configuration: store_dir"
            ) from damage


def open_or_read(files: Sequence[Path], folder: Path, keep: bool) -> QuestionTable:
    """``open_or_convert`` for those who only read: a store that cannot be written is not an error.

    With ``keep``, files that have no store are converted; otherwise nothing is written.
    """
    if not keep:
        if not is_fresh(folder, files):
            return read_table(files)
        with suppress(_DamageError):  # it is made anew below
            return _open(store_path(files, folder))
    try:
        return open_or_convert(files, folder)
    except StoreError as error:
        logger.warning("The question files are read into memory. %s", error)
        return read_table(files)


def is_fresh(folder: Path, files: Sequence[Path]) -> bool:
    """Whether the store is there and was made from these files as they are now.

    A file of other times, but the same content, is noted there. A missing one is a
    ``FileNotFoundError``.
    """
    store = store_path(files, folder)
    known = _description(store)
    found = [_state(file) for file in files]
    kept = known.get("files")
    if known.get("version") != _VERSION or not isinstance(kept, list) or len(kept) != len(found):
        return False
    if not all(isinstance(file, dict) for file in kept):
        return False
    sizes, hashes = ([file.get(key) for file in kept] for key in ("bytes", "sha256"))
    if kept == [{**state, "sha256": old} for state, old in zip(found, hashes, strict=True)]:
        return True
    if sizes != [state["bytes"] for state in found]:
        return False
    fingerprint = _fingerprint(files)
    if hashes != [file["sha256"] for file in fingerprint]:
        return False
    try:
        with writing(store / DESCRIPTION) as partial:
            _describe(partial, known.get("table"), fingerprint)
    except StoreError as error:
        logger.info("The question files are compared with their store at each start. %s", error)
    return True


def _description(store: Path) -> dict[str, Any]:
    """What is known of a store; nothing of one that is missing, being replaced, or damaged."""
    try:
        known = json.loads((store / DESCRIPTION).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _state(file: Path) -> dict[str, Any]:
    """Its name without folders: data may be moved together with its stores."""
    if not file.is_file():
        raise FileNotFoundError(f"Question file {file} does not exist; expected a question file")
    state = file.stat()
    return {
        "name": file.name,
        "bytes": state.st_size,
        "modified": state.st_mtime_ns,
        "changed": state.st_ctime_ns,
    }


def _open(store: Path) -> QuestionTable:
    """Check a store and map it; ``_DamageError``: a byte of it is not what was written."""
    found = sorted(file.name for file in store.glob("*.arrow"))
    if found != [_description(store).get("table")]:
        raise _DamageError(f"it has the tables {found}; expected the one that {DESCRIPTION} names")
    file = store / found[0]
    try:
        if file.stem != _checksum(file):
            raise _DamageError(f"{file.name} does not have this checksum")
        table = map_table(file)
        check_table(table)
    except (OSError, ValueError) as e:
        raise _DamageError(str(e)) from e
    return QuestionTable([Part(table, file)])


def _checksum(file: Path) -> str:
    found = 0
    with file.open("rb") as content:  # what is mapped would count as memory of this process
        while block := content.read(_BLOCK):
            found = zlib.crc32(block, found)
    return f"{found:08x}"


def _convert(files: Sequence[Path], store: Path, progress: bool) -> None:
    # Before the files are read: of those that change meanwhile the store will not be fresh.
    fingerprint = _fingerprint(files)
    size = sum(file["bytes"] for file in fingerprint)
    names = " + ".join(file.name for file in files)
    with Progress(f"converting {names}", size, "B", shown=progress) as bar:
        table = read_table(files, bar.update)
    (part,) = table.parts
    with explained(store), replacing_folder(store) as partial:
        file = partial / "questions.arrow"
        _write_table(file, part.table)
        file = file.rename(file.with_stem(_checksum(file)))
        _describe(partial / DESCRIPTION, file.name, fingerprint)
    size = f"{len(table)} questions on {table.image_count} images"
    logger.info("%s: recognised as %s, %s; kept in %s", names, *table.formats, size, store)


def _fingerprint(files: Sequence[Path]) -> list[dict[str, Any]]:
    return [{**_state(file), "sha256": sha256_of(file)} for file in files]


def _describe(path: Path, table: Any, fingerprint: list[dict[str, Any]]) -> None:
    description = {"version": _VERSION, "table": table, "files": fingerprint}
    path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        # One batch: a mapped column is then one array.
        writer.write_table(table, max_chunksize=table.num_rows)
