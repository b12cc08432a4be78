"""LMDB files of strangers, opened to be read."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb


def open_lmdb(path: str | Path) -> lmdb.Environment:
    """Open an LMDB, a folder or a file; errors are ``lmdb.Error``, ``OSError``, ``ValueError``.

    A process opens each LMDB once at a time. One that was cut short is refused: reading behind the
    end of a mapped file kills the process.
    """
    path = str(path)
    folder = os.path.isdir(path)
    environment = lmdb.open(path, subdir=folder, readonly=True, lock=False, readahead=False)
    try:
        file = os.path.join(path, "data.mdb") if folder else path
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if os.path.getsize(file) < needed:
            raise ValueError(f"it has {os.path.getsize(file)} of {needed} bytes")
    except BaseException:
        environment.close()
        raise
    return environment
