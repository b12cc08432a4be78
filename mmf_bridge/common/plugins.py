"""Where a plugin and its yaml files are found: dotted ``env.user_dir`` and installed packages.

A package announces itself to the bridge with an entry point of the group ``mmf.plugins``; its
yaml files are then found by the path they have in its repository (``projects/NAME/configs/...``)
from any directory.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

from mmf_bridge.common.near import did_you_mean

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


def import_plugins() -> None:
    """Import the installed plugins, which register themselves."""
    for entry in entry_points(group=GROUP):
        import_if_package(entry.value)


@contextmanager
def naming_user_dir(user_dir: str | None) -> Iterator[None]:
    """Name ``env.user_dir`` where it cannot be found; errors of the plugin's own code stay theirs.

    Raises:
        ValueError: it is neither a folder with a package nor the name of an installed one.
    """
    if not isinstance(user_dir, str | None):
        raise ValueError(f"env.user_dir: got {user_dir!r}, expected a folder, or a package's name")
    if user_dir and os.path.isdir(user_dir) and not Path(user_dir, "__init__.py").is_file():
        raise ValueError(f"env.user_dir: the folder {user_dir} has no __init__.py, so no package")
    try:
        yield
    except ModuleNotFoundError as error:
        name = os.path.basename(os.path.normpath(str(user_dir))).removesuffix(".py")
        packages = itertools.accumulate(str(user_dir).split("."), "{}.{}".format)
        missing = {name, Path(name).stem, *packages}
        if error.name not in missing:
            raise
        plugins = [entry.value for entry in entry_points(group=GROUP)]
        raise ValueError(
            f"env.user_dir: got {user_dir}, which is neither a folder with a Python package nor "
            f"the name of an installed one.{did_you_mean(name, plugins)}"
        ) from error


def find_in_plugins(path: str) -> str | None:
    """The absolute path of a plugin's file given relative to its repository or its package.

    MMF puts the folder of the including file before an include: ``DIR/projects/NAME/...`` is looked
    for as ``projects/NAME/...`` too.
    """
    _, projects, rest = path.rpartition("projects/")
    for root in _plugin_roots():
        for name in (path, projects + rest):
            if (root / name).exists():
                return str((root / name).resolve())
    return None


def _plugin_roots() -> Iterator[Path]:
    """The folders that plugins' files lie in: the package and its repository."""
    for entry in entry_points(group=GROUP):
        folder = package_directory(entry.value)
        if folder:
            yield folder
            yield folder.parent
