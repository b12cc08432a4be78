"""The import hook: patches MMF's modules as they are imported, and does nothing else.

The `.pth` file calls `install` at every start of Python, therefore this file imports nothing but
`os` and `sys`, which Python has loaded by then.
"""

import os
import sys

TYPE_CHECKING = False  # importing `typing` for it would take longer than all the rest
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

SWITCH = "MMF_BRIDGE"
_OFF = frozenset({"0", "off", "false", "no"})
_PACKAGES = frozenset({"mmf", "mmf_cli"})


class MmfFinder:
    """Stands first in `sys.meta_path` and answers for `mmf` and `mmf_cli` alone."""

    def find_spec(
        self,
        name: str,
        path: "Sequence[str] | None" = None,
        target: "ModuleType | None" = None,
    ) -> "ModuleSpec | None":
        """Returns the spec that the other finders give, with the patches of `name` put around it.

        `None` stands for every module outside MMF: the other finders then do their work.
        """
        if name.partition(".")[0] not in _PACKAGES:
            return None
        from mmf_bridge.loader import patched_spec

        return patched_spec(name, path, target)


def is_enabled() -> bool:
    """Whether the environment lets the bridge work: `MMF_BRIDGE=0` (off, false, no) stops it."""
    return os.environ.get(SWITCH, "").strip().lower() not in _OFF


def is_installed() -> bool:
    """Whether this process has the hook in `sys.meta_path`."""
    return any(isinstance(finder, MmfFinder) for finder in sys.meta_path)


def install() -> None:
    """Puts the hook at the head of `sys.meta_path`; a second call changes nothing."""
    if is_enabled() and not is_installed():
        sys.meta_path.insert(0, MmfFinder())
