"""Packages of one's own: importing one registers its components."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

# What this process has imported so; the processes of `clipvil profile` do the same.
IMPORTED: list[str] = []


def import_user_dir(user_dir: str) -> None:
    """Import a package that registers components of its own, as MMF does with ``env.user_dir``.

    Args:
        user_dir: its folder, or the name of an installed module.

    Raises:
        ValueError: it is neither, or cannot be imported.
    """
    folder = Path(user_dir).expanduser().resolve()
    name = user_dir
    if folder.is_dir():
        name = folder.name
        sys.path.insert(0, str(folder.parent))
    try:
        module = import_module(name)
    except ImportError as e:
        raise ValueError(
            f"--user-dir {user_dir}: {e}. Expected the folder of a Python package, or the name of "
            "an installed one"
        ) from e
    if folder.is_dir() and folder not in map(Path, getattr(module, "__path__", ())):
        raise ValueError(
            f"--user-dir {user_dir}: Python has another module {name} already, {module!r}. Give "
            "the folder another name"
        )
    IMPORTED.append(user_dir)
