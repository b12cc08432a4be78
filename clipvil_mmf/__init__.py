"""CLIP-ViL visual question answering as a plugin for MMF.

MMF imports this package as ``env.user_dir``; that registers the plugin's models, datasets,
processors and metrics. Without MMF in the process nothing is registered, so that the ``clipvil``
command starts at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from typing import Any

    import torch

    from clipvil_mmf.hub import Answerer


def register() -> None:
    """Register everything of the plugin with MMF; a second call changes nothing."""
    import clipvil_mmf.plugin  # noqa: F401


def from_pretrained(
    path: str | PathLike[str],
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Answerer:
    """Load a model that answers questions about images; MMF is not needed.

    Args:
        path: a folder that ``clipvil import`` wrote, or the ``env.save_dir`` of a run of MMF (or
            one of its checkpoints).
        device: where the network runs.
        dtype: of the network's parameters; None for float32.
        compile: run the network through ``torch.compile``: True, or what ``training.compile``
            takes, such as ``{"dynamic": False}``. The first answers then take longer.

    Returns:
        An object with ``answer(image, question, top_k=5)``, see :mod:`clipvil_mmf.hub`.

    Raises:
        CheckpointError: no model is there, it is incomplete, or it cannot run.
        ConfigError: the text vocabulary is unavailable.
        ValueError: an option of ``compile`` is wrong, or this machine cannot compile.
    """
    # Imported here: `clipvil --help` and MMF's start do without.
    import torch

    from clipvil_mmf import hub

    return hub.from_pretrained(path, device, torch.float32 if dtype is None else dtype, compile)


if "mmf" in sys.modules:
    register()
