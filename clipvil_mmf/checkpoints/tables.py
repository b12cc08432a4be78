"""The table of names of each architecture, and which one a network or a checkpoint has."""

from __future__ import annotations

from collections.abc import Iterable

from clipvil_mmf.checkpoints import (
    names_cross_modal,
    names_joint,
    names_pretraining,
    names_tuning,
)
from clipvil_mmf.checkpoints.names import NameTable

JOINT = NameTable(
    # Tuning first: the names of low-rank factors begin with those of their matrix.
    {
        **names_tuning.NAMES,
        **names_tuning.low_rank(names_joint.NAMES),
        **names_joint.NAMES,
        **names_pretraining.NAMES,
    },
    {**names_joint.UNUSED, **names_pretraining.UNUSED},
)
CROSS_MODAL = NameTable(
    # Nobody has published LXMERT under LoRA: these names are made as those of CLIP-ViL are.
    {
        **names_tuning.low_rank(names_cross_modal.NAMES),
        **names_cross_modal.NAMES,
        **names_pretraining.NAMES,
    },
    {**names_joint.UNUSED, **names_cross_modal.UNUSED, **names_pretraining.UNUSED},
)


def table_for(ours: Iterable[str]) -> NameTable:
    """The table of a network, from the names of its parameters."""
    cross = any(name.startswith("fusion.cross_layers.") for name in ours)
    return CROSS_MODAL if cross else JOINT


def table_of_published(published: Iterable[str]) -> NameTable:
    """The table of a checkpoint, from its keys under the names of `BEST.pth`."""
    return CROSS_MODAL if any(".encoder.x_layers." in key for key in published) else JOINT
