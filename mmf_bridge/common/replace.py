"""Putting a patched class or function where MMF's own stood."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def replace(module: ModuleType, *things: Any) -> None:
    """Set classes and functions in ``module`` under their own names.

    They take the module's name too: spawned processes unpickle them by it.
    """
    for thing in things:
        thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
        setattr(module, thing.__name__, thing)
