"""Published state dicts into networks of ours and out of them, by the tables of the package."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from clipvil_mmf.checkpoints.matching import LoadReport, match
from clipvil_mmf.checkpoints.published.convert import translate
from clipvil_mmf.checkpoints.published.names import NameTable, table_for, table_with
from clipvil_mmf.network import ClipVilNetwork

JOINT, CROSS_MODAL = table_with("joint"), table_with("cross_modal")


def published_name(name: str, table: NameTable = JOINT) -> str:
    """The published key of one of our parameters or buffers."""
    return table.published(name)


def load_published(network: ClipVilNetwork, published: Mapping[str, Tensor]) -> LoadReport:
    """Load a published state dict into a network, which has to have all of it."""
    source = translate(published, "the state dict").source
    found, report = match(network.state_dict(), source, network.tuning.backbone_name)
    network.load_state_dict(found)
    return report


def to_published(network: nn.Module) -> dict[str, Tensor]:
    """The network's state dict under the published names."""
    state = network.state_dict()
    table = table_for(state)
    return {table.published(ours): value for ours, value in state.items()}
