"""Checkpoints in formats other than MMF's."""

from __future__ import annotations

from clipvil_mmf.checkpoints.published import (
    CheckpointError,
    LoadReport,
    load_published,
    published_name,
    read_published,
    to_published,
)

__all__ = [
    "CheckpointError",
    "LoadReport",
    "load_published",
    "published_name",
    "read_published",
    "to_published",
]
