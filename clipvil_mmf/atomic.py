"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside ``path``, which takes its place if all goes well.

    Missing folders are made. The name ends as ``path`` does: it may tell a writer the format.

    Raises:
        OSError: it cannot be written; nothing half-written is left.
    """
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
