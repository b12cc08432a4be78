"""Models on disk: ours under their own names (`native.py`), and published ones (`published/`)."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint does not fit; the message names it and says what to do."""
