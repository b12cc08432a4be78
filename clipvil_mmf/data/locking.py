"""Writing files that several processes share: one writes, the others wait; all or nothing."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipvil_mmf.atomic import replacing


class StoreError(OSError):
    """Files of a store cannot be written or are damaged; the message says what to do."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which need not exist; wait while another process holds it.

    The lock is a file beside the folder (``StoreError``: it cannot be written). It is free as soon
    as its holder ends, however it ends.
    """
    path = folder.with_name(f".{folder.name}.lock")
    with explained(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside ``path``, which takes its place if all goes well."""
    with explained(path), replacing(path) as partial:
        yield partial


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say of a failure to write what was written, and what to do: ``OSError`` -> ``StoreError``."""
    try:
        yield
    except StoreError:
        raise
    except OSError as e:
        raise StoreError(
            f"Cannot write {path}: {e.strerror or e}. Nothing half-written is left. Make room or "
            "give write permission there, or name another folder in the dataset's configuration: "
            "store_dir"
        ) from e
