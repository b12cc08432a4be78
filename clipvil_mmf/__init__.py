"""CLIP-ViL visual question answering as a plugin for MMF.

MMF imports this package as ``env.user_dir``; that registers the plugin's models, datasets,
processors and metrics. Without MMF in the process nothing is registered, so that the ``clipvil``
command starts at once.
"""

import sys


def register() -> None:
    """Register everything of the plugin with MMF; a second call changes nothing."""
    import clipvil_mmf.plugin  # noqa: F401


if "mmf" in sys.modules:
    register()
