"""The name that a misspelt one is nearest to, for errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(
    word: object, names: Iterable[object], prefix: str = "", cutoff: float = 0.6
) -> str:
    """`` Did you mean NAME?``, with ``prefix`` before the name; nothing where none is near."""
    near = difflib.get_close_matches(str(word), [str(name) for name in names], 1, cutoff)
    return f" Did you mean {prefix}{near[0]}?" if near else ""
