"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside `path`, which takes its place if all goes well.

    Raises:
        OSError: it cannot be written; nothing half-written is left.
    """
    # The ending stays the same: it tells matplotlib the format.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as e:
        raise OSError(
            f"Cannot write {path}: {e.strerror or e}. Make room or give write permission there, or "
            "name another folder"
        ) from e
