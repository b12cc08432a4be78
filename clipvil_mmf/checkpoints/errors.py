"""The error of this package."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint does not fit; the message names what, what was expected and what to do."""
