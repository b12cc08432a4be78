"""CLIP-ViL visual question answering as a plugin for MMF.

MMF imports this package as ``env.user_dir``; that registers the plugin's models, datasets,
processors and metrics. Without MMF in the process nothing is registered, so that the ``clipvil``
command starts at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike
    from typing import Any

    import torch

    from clipvil_mmf.hub import Answerer

__version__ = "0.1.0"


def register() -> None:
    """Register everything of the plugin with MMF; a second call changes nothing."""
    import clipvil_mmf.plugin  # noqa: F401


def from_pretrained(
    path: str | PathLike[str],
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    backbone: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    compile: bool | Mapping[str, Any] = False,
    revision: str | None = None,
) -> Answerer:
    """Load a model that answers questions about images; MMF is not needed.

    Args:
        path: a folder that ``clipvil import``, ``clipvil merge`` or ``save_pretrained`` wrote, or
            the ``env.save_dir`` of a run of MMF (or one of its checkpoints). Of a run that tuned
            beside a frozen backbone, both are loaded. ``"org/name"`` is a repository of the hub,
            where no folder here has that path; ``"hf://org/name@v1"`` is one anyway, at a revision.
        device: where the network runs, such as ``"cuda"``.
        dtype: of the network's parameters, such as ``"bfloat16"``; None for float32.
        backbone: of a tuned run, the file of its backbone, or several; None for those that its
            configuration names.
        compile: run the network through ``torch.compile``: True, or what ``training.compile``
            takes, such as ``{"freezing": True}``, which is the fastest. The first answers then take
            longer.
        revision: of a hub repository: a branch, a tag or a commit; None for its main branch.

    Returns:
        An object with ``answer(image, question, top_k=5)``; called with many samples it answers
        them in batches. See :mod:`clipvil_mmf.hub`.

    Raises:
        CheckpointError: no model is there, it is incomplete, or it cannot run.
        HubError: the hub does not give it; a ``ValueError`` as the others.
        ValueError: there is no such device or dtype, an option of ``compile`` is wrong, or this
            machine cannot compile.
    """
    # Imported here: `clipvil --help` and MMF's start do without.
    import torch

    from clipvil_mmf import hub

    dtype = torch.float32 if dtype is None else dtype
    return hub.from_pretrained(path, device, dtype, backbone, compile, revision)


if "mmf" in sys.modules:
    register()
