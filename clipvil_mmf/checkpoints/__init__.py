"""Checkpoints in formats other than MMF's."""

from __future__ import annotations

from clipvil_mmf.checkpoints.errors import CheckpointError
from clipvil_mmf.checkpoints.loading import (
    LoadReport,
    load_published,
    match,
    published_name,
    to_published,
)
from clipvil_mmf.checkpoints.names import NameTable
from clipvil_mmf.checkpoints.tables import CROSS_MODAL, JOINT

__all__ = [
    "CROSS_MODAL",
    "JOINT",
    "CheckpointError",
    "LoadReport",
    "NameTable",
    "load_published",
    "match",
    "published_name",
    "to_published",
]
