"""Twelve updates as the published code made them, of everything and of UniPT's side network."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from clipvil_mmf.network import ClipVilNetwork
from tests.golden.compare import load_tiny
from tests.golden.published import published_name
from tests.golden.trajectories import (
    CARRY,
    FLOAT32,
    FULL,
    RECORDED,
    RUNS,
    UNIPT,
    Recipe,
    Trajectory,
    compare,
    compare_rates,
    load,
    rates,
    recipe_of,
    reference_updates,
    train,
)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files need not outlive a power cut here."""
    monkeypatch.setattr("os.fsync", lambda file: None)


def assert_within(rows: list[Any]) -> None:
    outside = [row for row in rows if not row.used <= 1.0]
    assert rows and not outside, outside


def full_recipe() -> Recipe:
    return recipe_of(load("traj_full"))


@pytest.mark.parametrize(("name", "batches"), [(FULL, 96), (UNIPT, 96), (CARRY, 104)])
def test_a_run_update_by_update(name: str, batches: int) -> None:
    seen = train(name)
    rows = compare(name, seen)
    assert len(rows) == 6 + sum(key.startswith("final/") for key in load(name).files)
    assert len(seen.delta) == 12 and len(seen.loss) == batches
    assert_within(rows)


@pytest.mark.parametrize("name", RUNS)
def test_float32_is_float64_but_for_rounding(name: str) -> None:
    assert_within(compare(name, train(name, dtype=torch.float32), FLOAT32, train(name)))


def test_a_wrong_run_is_noticed() -> None:
    """The comparison itself: one number off by a thousandth in any quantity is outside."""
    seen = train(FULL)
    for key in ("lr_adamw", "total_norm", "loss", "norms", "delta"):
        wrong = np.array(getattr(seen, key))
        wrong[-1] *= 1.001
        rows = compare(FULL, dataclasses.replace(seen, **{key: wrong}))
        assert [row.quantity for row in rows if row.used > 1] == [f"{FULL}/{key}"]


@pytest.mark.parametrize("name", [UNIPT, CARRY])
def test_the_schedules_of_the_side_network_runs(name: str) -> None:
    golden = load(name)
    recipe = recipe_of(golden)
    info = json.loads(str(golden["info"]))
    assert recipe.run.max_updates == info["updates"] == 12
    assert recipe.run.scheduled_updates == info["t_total"]
    assert_within(compare_rates(name))


@pytest.mark.parametrize(
    "change", [{"warmup_ratio": 0.3}, {"milestones": [3]}, {"batches_per_epoch": 24}]
)
def test_another_recipe_has_other_rates(change: dict[str, Any]) -> None:
    """The comparison itself: it notices warmup, milestone and the carried micro-batches."""
    golden = load("traj_unipt_carry")
    recipe = recipe_of(golden)
    for key, value in change.items():
        setattr(recipe, key, value)
    adamw, sgd = rates(recipe)
    assert not (
        np.allclose(adamw, golden["lr_adamw"], rtol=1e-6)
        and np.allclose(sgd, golden["lr_sgd"], rtol=1e-6)
    )


def torchs_adamw(recipe: Recipe, network: ClipVilNetwork) -> torch.optim.Optimizer:
    groups = recipe.optimizer(network).param_groups
    return torch.optim.AdamW(
        [{key: group[key] for key in ("params", "name", "weight_decay")} for group in groups],
        lr=recipe.lr,
        eps=1e-6,
    )


def decay_of_everything(recipe: Recipe, network: ClipVilNetwork) -> torch.optim.Optimizer:
    optimizer = recipe.optimizer(network)
    optimizer.param_groups[1]["weight_decay"] = 0.01
    return optimizer


def no_decay_of_the_tower(recipe: Recipe, network: ClipVilNetwork) -> torch.optim.Optimizer:
    optimizer = recipe.optimizer(network)
    optimizer.param_groups[2]["weight_decay"] = 0.0
    return optimizer


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (torchs_adamw, "lxrt_encoder.model.bert.encoder.visn_fc.visn_fc.weight"),
        (decay_of_everything, "lxrt_encoder.model.bert.embeddings.LayerNorm.weight"),
        (
            no_decay_of_the_tower,
            "lxrt_encoder.model.bert.encoder.visual_model.visual.layer4.0.bn3.weight",
        ),
    ],
)
def test_another_optimizer_has_another_trajectory(build: Any, name: str) -> None:
    """The comparison itself: two updates by another rule are outside the tolerance."""
    golden = load("traj_full")
    column = golden["names"].tolist().index(name)
    ours = train("traj_full", updates=2, build_optimizer=build).delta[1][column]
    assert abs(ours / golden["delta"][1, column] - 1) > 3 * RECORDED.delta


def test_decay_is_decided_by_the_published_names() -> None:
    network, golden = load_tiny()
    groups = {group["name"]: group for group in full_recipe().optimizer(network).param_groups}
    ours = {published_name(name): value for name, value in network.named_parameters()}
    members = {
        name: {key for key, value in ours.items() if any(value is p for p in group["params"])}
        for name, group in groups.items()
    }
    learned = {name for name in ours if f"sd/{name}" in golden.files}
    assert learned == set(ours)
    tower = {name for name in learned if "visual_model" in name}
    spared = {
        name
        for name in learned - tower
        if any(part in name for part in ("bias", "LayerNorm.weight"))
    }
    assert members == {
        "decay": learned - tower - spared,
        "no_decay": spared,
        "tower": tower,
    }
    assert {key: group["weight_decay"] for key, group in groups.items()} == {
        "decay": 0.01,
        "no_decay": 0.0,
        "tower": 4e-4,
    }
    norms = {name for name in members["decay"] if "norm" in name.lower() or "logit_fc.2" in name}
    assert norms == {
        "lxrt_encoder.model.bert.encoder.visn_fc.visn_layer_norm.weight",
        "logit_fc.2.weight",
    }


def test_mmfs_trainer_repeats_the_full_run(tmp_path: Any) -> None:
    from tests.golden import mmf_run

    trainer, seen = mmf_run.run(full_recipe(), tmp_path)
    assert trainer.num_updates == 12 and trainer.current_iteration == 96
    assert_same(seen, train(FULL, dtype=torch.float32))


@pytest.mark.parametrize("name", [UNIPT, CARRY])
def test_mmfs_trainer_repeats_the_side_network_runs(name: str, tmp_path: Any) -> None:
    from tests.golden import mmf_run

    trainer, seen = mmf_run.run(recipe_of(load(name)), tmp_path, name=name)
    assert trainer.num_updates == 12
    # MMF's trainer ends with the last update: BatchNorm misses what is left over of that epoch.
    assert_same(seen, train(name, to_the_last_batch=False, dtype=torch.float32))


def test_mmfs_trainer_carries_left_over_batches(tmp_path: Any) -> None:
    """10 micro-batches an epoch, 8 an update: the second epoch's update has 2 + 8."""
    from tests.golden import mmf_run

    recipe = full_recipe()
    recipe.batches_per_epoch = 10
    assert [len(update) for update in reference_updates(recipe)] == [8, 10, 10, 10]
    expected = train(FULL, batches_per_epoch=10, to_the_last_batch=False, dtype=torch.float32)
    trainer, seen = mmf_run.run(recipe, tmp_path)
    assert trainer.num_updates == 4 and trainer.current_iteration == 38
    assert_same(seen, expected)


def assert_same(seen: Trajectory, expected: Trajectory) -> None:
    for key in ("lr_adamw", "lr_sgd", "total_norm", "loss", "norms", "delta"):
        np.testing.assert_allclose(
            getattr(seen, key), getattr(expected, key), rtol=1e-6, atol=1e-9, err_msg=key
        )
    for name, value in expected.final.items():
        torch.testing.assert_close(seen.final[name], value, rtol=1e-6, atol=1e-7)
