"""Checksums of files that may be larger than memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK = 1 << 24  # bytes that are read at once


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
