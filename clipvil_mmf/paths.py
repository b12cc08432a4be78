"""Where the plugin's own files lie, in a checkout as well as in an installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CONFIGS = Path("projects", "clipvil", "configs")


def config_dir() -> Path:
    """Returns the absolute folder of the plugin's yaml files.

    In a checkout (and an editable install) it is `projects/clipvil/configs`, the source of truth;
    a wheel carries a copy under the same path inside the package.

    Raises:
        FileNotFoundError: neither exists, so the installation is damaged.
    """
    choices = (_PACKAGE.parent / _CONFIGS, _PACKAGE / _CONFIGS)
    for folder in choices:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"clipvil-mmf has no configuration files: neither {choices[0]} nor {choices[1]} exists. "
        "Install it again, in its checkout: `pip install --force-reinstall --no-deps -e .`."
    )
