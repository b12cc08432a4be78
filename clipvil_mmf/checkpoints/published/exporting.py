"""A model of ours -> a file in the published layout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from clipvil_mmf.checkpoints.native import read_saved
from clipvil_mmf.checkpoints.published.layouts import Kind, Layout
from clipvil_mmf.checkpoints.published.names import table_for
from clipvil_mmf.tuning import is_added
from clipvil_mmf.weight_files import write_torch


@dataclass
class ExportReport:
    """What an exported file holds: numbers of tensors."""

    kind: str
    network: int
    added: int  # by a tuning method
    unused: int


def export_checkpoint(
    model: str | Path, output: str | Path, ddp: bool | None = None
) -> ExportReport:
    """Write an imported checkpoint, or what a run of MMF left, in the published layout.

    An imported checkpoint is written with the keys that it came with, all of them as long as its
    ``unused.safetensors`` is there; a run of MMF with those of `BEST.pth` (without parts that the
    network does not have, such as CLIP's text tower).

    Args:
        model: see :func:`clipvil_mmf.checkpoints.native.read_saved`.
        output: the file to write, a ``.pth``.
        ddp: whether keys get DDP's ``module.``; None for what the imported file had.

    Raises:
        CheckpointError: the model is incomplete, not one of ours, or has a component without a
            published counterpart.
        WeightFileError: a file cannot be read or written.
    """
    saved = read_saved(model)
    table = table_for(saved.network)
    network = {table.published(name): tensor for name, tensor in saved.network.items()}
    tensors: dict[str, Tensor] = {**network, **saved.unused}
    for key, source in saved.description.tied.items():
        tensors[key] = tensors[source]
    described = saved.description.layout
    layout = Layout(**{**described, "kind": Kind(described["kind"])})
    layout = layout if ddp is None else replace(layout, ddp=ddp)
    write_torch({layout.in_file(name): tensor for name, tensor in tensors.items()}, output)
    unused = len(saved.unused) + len(saved.description.tied)
    added = sum(map(is_added, saved.network))
    return ExportReport(layout.kind.value, len(network) - added, added, unused)
