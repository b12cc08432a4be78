"""The name map to the published checkpoints accounts for every key, both ways."""

from __future__ import annotations

import pytest
import torch

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.network import ClipVilNetwork
from tests.golden.compare import TINY, load_tiny, published_weights
from tests.golden.published import load_published, published_name, to_published


@pytest.fixture
def network() -> ClipVilNetwork:
    return ClipVilNetwork.from_config(**TINY)


@pytest.fixture
def published() -> dict[str, torch.Tensor]:
    return published_weights(load_tiny()[1])


def test_every_key_is_loaded_or_listed(network, published) -> None:
    report = load_published(network, published)
    assert set(report.loaded) | set(report.unused) == set(published)
    assert not set(report.loaded) & set(report.unused)
    assert len(report.loaded) == len(network.state_dict())
    reasons = {
        reason: sum(why == reason for why in report.unused.values())
        for reason in set(report.unused.values())
    }
    assert reasons == {
        "boxes: a grid has none": 4,
        "attention pool: the grid is taken before it": 9,
        "CLIP's text tower": 17,
        "CLIP's contrastive loss": 1,
    }
    assert "tensors loaded" in str(report) and "4: boxes" in str(report)


def test_names_are_one_to_one(network) -> None:
    names = [published_name(name) for name in network.state_dict()]
    assert len(set(names)) == len(names)
    assert published_name("fusion.layers.11.attention.query.weight") == (
        "lxrt_encoder.model.bert.encoder.layer.11.attention.self.query.weight"
    )
    with pytest.raises(CheckpointError, match=r"fusion\.side\.weight has no counterpart"):
        published_name("fusion.side.weight")


def test_weight_decay_rule_by_name_survives(network) -> None:
    """Published optimizers spare names with `bias` or `LayerNorm.weight`; ours pick the same."""
    for name in network.state_dict():
        for part in ("bias", "LayerNorm.weight"):
            assert (part in name) is (part in published_name(name)), name


def test_round_trip(network, published) -> None:
    load_published(network, published)
    written = to_published(network)
    for key, value in written.items():
        assert torch.equal(value, published[key]), key


def test_values_land_where_they_belong(network, published) -> None:
    load_published(network, published)
    prefix = "lxrt_encoder.model.bert.encoder.visual_pos"
    assert torch.equal(
        network.visual_embedding.positions.rows.weight,
        published[f"{prefix}.x_position_embedding.weight"],
    )
    assert torch.equal(network.classifier.output.weight, published["logit_fc.3.weight"])


@pytest.mark.parametrize("problem", ["missing", "unknown", "shape"])
def test_misfits_are_errors_and_load_nothing(network, published, problem: str) -> None:
    key = "lxrt_encoder.model.bert.pooler.dense.weight"
    if problem == "missing":
        del published[key]
        message = r"1 missing from the checkpoint:\n +lxrt_encoder\.model\.bert\.pooler\.dense"
    elif problem == "unknown":
        published["lxrt_encoder.model.bert.encoder.more_norm.weight"] = torch.ones(3)
        message = r"1 unknown to the network:\n +lxrt_encoder.*more_norm\.weight"
    else:
        published[key] = torch.ones(3, 3)
        message = r"pooler\.dense\.weight is \(3, 3\), the network's fusion\.pooler\.weight"
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_published(network, published)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
