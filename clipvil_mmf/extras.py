"""Packages of the extras in setup.py, which are looked for before anything else is done."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping


def check_extra(what: str, extra: str, packages: Mapping[str, str]) -> None:
    """Refuse what cannot run as packages are missing.

    Args:
        what: needs them, such as a command.
        extra: brings them.
        packages: module -> the name it is installed by.

    Raises:
        ModuleNotFoundError: any is not installed; the message has the command that does it.
    """
    missing = [name for module, name in packages.items() if not importlib.util.find_spec(module)]
    if missing:
        raise ModuleNotFoundError(
            f"{what} needs {', '.join(missing)}, which is not installed: "
            f'pip install "clipvil-mmf[{extra}]"'
        )
