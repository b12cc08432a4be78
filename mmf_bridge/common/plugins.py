"""Where a plugin and its yaml files are found: dotted ``env.user_dir`` and installed packages.

A package announces itself to the bridge with an entry point of the group ``mmf.plugins``; its
yaml files are then found by the path they have in its repository (``projects/NAME/configs/...``)
from any directory.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "mmf.plugins"


def package_directory(name: str) -> Path | None:
    """The folder of an importable package named with dots, or None if there is none."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def import_if_package(name: str) -> bool:
    """Import ``name`` if it names an installed package; say whether it did.

    A package that was imported before MMF can register itself late, in a function ``register``.
    """
    folder = package_directory(name)
    if folder is None or (Path(name).exists() and Path(name).resolve() != folder.resolve()):
        return False
    module = importlib.import_module(name)
    if callable(getattr(module, "register", None)):
        module.register()
    return True


def find_in_plugins(path: str) -> str | None:
    """The absolute path of a plugin's file given relative to its repository or its package."""
    for entry in entry_points(group=GROUP):
        folder = package_directory(entry.value)
        for root in (folder, folder.parent) if folder else ():
            if (root / path).exists():
                return str((root / path).resolve())
    return None
