"""Published names into a network and out of it: every key is used, or listed with a reason.

Names here are those of `BEST.pth`; `layouts.py` brings other files to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from clipvil_mmf.checkpoints.errors import CheckpointError
from clipvil_mmf.checkpoints.names import NameTable
from clipvil_mmf.checkpoints.names_tuning import is_added, method_of
from clipvil_mmf.checkpoints.tables import JOINT, table_for


@dataclass
class LoadReport:
    """What became of the keys of a published checkpoint."""

    loaded: list[str] = field(default_factory=list)
    unused: dict[str, str] = field(default_factory=dict)  # key -> reason

    def reasons(self) -> dict[str, int]:
        """Reason -> how many tensors were left for it."""
        return dict(Counter(self.unused.values()))

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors loaded, {len(self.unused)} not used"]
        return "\n".join(lines + [f"  {n}: {why}" for why, n in self.reasons().items()])


def published_name(name: str, table: NameTable = JOINT) -> str:
    """The published key of one of our parameters or buffers.

    Raises:
        KeyError: the published models have no counterpart.
    """
    return table.published(name)


def match(
    expected: Mapping[str, Tensor],
    published: Mapping[str, Tensor],
    table: NameTable | None = None,
    partial: bool = False,
    plain: bool = False,
) -> tuple[dict[str, Tensor], LoadReport]:
    """Find the tensor for each name of a network; all must fit.

    Args:
        expected: the network's state dict; only names and shapes are read.
        published: tensors under the names of `BEST.pth`.
        table: the names of the network's architecture; None to tell by `expected`.
        partial: the checkpoint holds a part of the network alone, so that some may be missing.
        plain: the checkpoint is of a model that was not tuned, so that what the network's tuning
            method adds may be missing.

    Returns:
        Our names -> tensors, and what became of each published key.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape, or belongs to a tuning
            method that the network lacks. The message lists all of them.
    """
    table = table or table_for(expected)
    names = {ours: table.published(ours) for ours in expected}
    taken = set(names.values())
    report = LoadReport(loaded=[theirs for theirs in names.values() if theirs in published])
    unknown, added = [], []
    for key in published:
        if key in taken:
            continue
        reason = table.why_unused(key)
        if reason is None and partial and table.ours(key) is not None:
            reason = "layers that the network does not have"
        if is_added(key):
            added.append(key)
        elif reason is None:
            unknown.append(key)
        else:
            report.unused[key] = reason
    missing = [
        theirs
        for theirs in names.values()
        if theirs not in published and not partial and not (plain and is_added(theirs))
    ]
    misshapen = [
        f"{theirs} is {tuple(published[theirs].shape)}, the network's {ours} is "
        f"{tuple(expected[ours].shape)}"
        for ours, theirs in names.items()
        if theirs in published and published[theirs].shape != expected[ours].shape
    ]
    problems = [
        f"{len(keys)} {what}:\n    " + "\n    ".join(keys)
        for what, keys in (
            ("missing from the checkpoint", missing),
            ("unknown to the map", unknown),
            (f"of the tuning method {method_of(added)}, which the network lacks", added),
            ("of another shape", misshapen),
        )
        if keys
    ]
    if problems or not report.loaded:
        raise CheckpointError(
            "The published checkpoint does not fit the network (same tower, widths, layers and "
            "answers are needed); nothing was loaded.\n  "
            + "\n  ".join(problems or ["none of its tensors is one of the network's"])
        )
    found = {ours: published[theirs] for ours, theirs in names.items() if theirs in published}
    return found, report


def load_published(
    network: nn.Module, published: Mapping[str, Tensor], table: NameTable | None = None
) -> LoadReport:
    """Load a published fine-tuned checkpoint into a `ClipVilNetwork` of the same shape.

    Nothing is written unless everything fits.

    Args:
        network: the network to fill; every parameter and buffer of it must be in the checkpoint.
        published: state dict under the names of `BEST.pth`.
        table: the names of the network's architecture; None to tell by the network.

    Returns:
        The keys that were loaded, and those left over with the reason.

    Raises:
        CheckpointError: see :func:`match`.
    """
    found, report = match(network.state_dict(), published, table)
    network.load_state_dict(found)
    return report


def to_published(network: nn.Module) -> dict[str, Tensor]:
    """The network's state dict under the published names (without the parts it does not have)."""
    state = network.state_dict()
    table = table_for(state)
    return {table.published(ours): value for ours, value in state.items()}
