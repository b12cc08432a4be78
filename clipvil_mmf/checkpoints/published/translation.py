"""A published state dict under our names: the border that foreign weights cross."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from clipvil_mmf.checkpoints.matching import Source
from clipvil_mmf.checkpoints.published.layouts import (
    Kind,
    Layout,
    canonical,
    detect_layout,
    take_shared_tasks,
)
from clipvil_mmf.checkpoints.published.names import table_of_published
from clipvil_mmf.checkpoints.published.shapes import infer_tuning


class Published(NamedTuple):
    """A published file, translated."""

    source: Source  # under our names; its keys are those of `BEST.pth`
    layout: Layout  # how its keys are written
    tensors: dict[str, Tensor]  # under the names of `BEST.pth`
    shared: dict[str, str]  # key of a further task -> the key whose tensor it shares


def translate(state: Mapping[str, Tensor], path: str, kind: Kind | None = None) -> Published:
    """Bring a published file's tensors under our names.

    Args:
        state: as the file has it.
        path: the file, for errors.
        kind: what it is known to hold; None to find out.

    Raises:
        CheckpointError: its layout is unknown, or it has tensors of several tasks.
    """
    layout = detect_layout(state, path, kind)
    published = canonical(state, layout)
    shared = take_shared_tasks(published, path)
    table = table_of_published(published)
    tensors, keys, spare = {}, {}, {}
    for key, tensor in published.items():
        name = table.ours(key) or key
        tensors[name], keys[name] = tensor, key
        reason = table.why_unused(key)
        if reason is not None:
            spare[name] = reason
    tuning = infer_tuning({name: tuple(tensor.shape) for name, tensor in tensors.items()})

    def key_of(name: str) -> str:
        return keys.get(name) or table.find_published(name) or name

    source = Source(layout.kind.value, tensors, tuning=tuning, key_of=key_of, spare=spare)
    return Published(source, layout, published, shared)
