"""The files of `clipvil profile`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from clipvil_mmf.atomic import replacing


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside `path`, which takes its place if all goes well.

    Raises:
        OSError: it cannot be written; nothing half-written is left.
    """
    try:
        with replacing(path) as partial:
            yield partial
    except OSError as e:
        raise OSError(
            f"Cannot write {path}: {e.strerror or e}. Make room or give write permission there, or "
            "name another folder"
        ) from e


def check_folder(folder: Path) -> None:
    """Make a folder for results, before the long work whose results they are.

    Raises:
        OSError: it cannot be made, or not written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise OSError(
            f"Cannot write into {folder}: {e.strerror or e}. Name another folder: --output"
        ) from e
