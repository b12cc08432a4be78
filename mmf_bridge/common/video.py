"""Stands in for `torchvision.io.read_video`, which torchvision 0.27 no longer has."""

from __future__ import annotations

from typing import Any, NoReturn


def read_video(*_args: Any, **_kwargs: Any) -> NoReturn:
    """Raises: torchvision decodes no videos any more (torchcodec took its place).

    Raises:
        RuntimeError: always; only MMF's Charades dataset reads videos.
    """
    raise RuntimeError(
        "torchvision.io.read_video was removed from torchvision, so MMF's Charades dataset cannot "
        "read videos here. Use torchvision 0.23 or older with the torch of its time for it."
    )
