"""Tells which of the two supported lines of MMF is installed, without importing it."""

from __future__ import annotations

import functools
import os
import re
import warnings

SUPPORTED = "1.0.0rc7 (PyPI) and 1.0.0rc11 or newer (GitHub main)"

_VERSION = re.compile(r"""^__version__\s*=\s*["']([^"']+)["']""", re.MULTILINE)
_RELEASE = re.compile(r"1\.0\.0rc(\d+)")
_FIRST_OF_MAIN = 11


def find_mmf() -> str | None:
    """Returns the folder of the installed package `mmf`, or `None` when there is none."""
    from mmf_bridge.loader import find_elsewhere

    spec = find_elsewhere("mmf", None, None)
    if spec is None or not spec.origin:
        return None
    return os.path.dirname(spec.origin)


def read_version(mmf_dir: str) -> str | None:
    """Returns the version that `mmf_dir/version.py` states, or `None` when it states none."""
    version_file = os.path.join(mmf_dir, "version.py")
    if not os.path.isfile(version_file):
        return None
    with open(version_file, encoding="utf-8") as file:
        match = _VERSION.search(file.read())
    return match.group(1) if match else None


def line_of(version: str | None) -> str | None:
    """Maps a version such as `"1.0.0rc7"` to its line, `"rc7"` or `"main"`, or to `None`."""
    release = _RELEASE.fullmatch(version or "")
    number = int(release[1]) if release else 0
    return "rc7" if number == 7 else "main" if number >= _FIRST_OF_MAIN else None


@functools.cache
def detect(mmf_dir: str | None = None) -> str | None:
    """Reads the line from the text of the package `mmf` in a folder, by default the installed one.

    Returns:
        `None` when MMF is absent or, after one warning, when its version is not supported.
    """
    mmf_dir = mmf_dir or find_mmf()
    if mmf_dir is None:
        return None
    version = read_version(mmf_dir)
    line = line_of(version)
    if line is None:
        warnings.warn(
            f"mmf_bridge: MMF {version or 'of unknown version'} in {mmf_dir} is not supported and "
            f"is left as it is. Supported: {SUPPORTED}. Install one with "
            "`pip install --no-deps mmf==1.0.0rc7`.",
            RuntimeWarning,
            stacklevel=2,
        )
    return line
