"""Patches of ``mmf.utils.patch``: a start-up that imports no model of transformers for its name."""

from __future__ import annotations

from types import ModuleType

from mmf_bridge.common.replace import replace


def patch(module: ModuleType) -> None:
    """Leave transformers' old module names to ``mmf_bridge.moved``, which finds them when asked.

    Stock MMF imports every model of transformers at each start, to alias all of their modules.
    """

    def patch_transformers(log_incompatible: bool = False) -> None:
        """Nothing to do: see ``mmf_bridge.moved.MovedFinder``."""

    replace(module, patch_transformers)
