"""Names that stand in no registry of MMF's."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is in no registry: nearest match, choices, what to do."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return (
        f"No {what} named {name!r} is registered; {hint}registered: {', '.join(sorted(known))}. "
        "A plugin's names need env.user_dir (or MMF_USER_DIR) to name the plugin"
    )
