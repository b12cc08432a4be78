"""Learning rates update by update, and what a run tells the schedule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmf.common.registry import registry
from omegaconf import OmegaConf

import clipvil_mmf
from clipvil_mmf.config import ConfigError
from clipvil_mmf.optim import RecipeSchedule, ScheduleConfig
from mmf_bridge.common.run_length import RunLength


def optimizer(*names: str) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "name": name} for name in names]
    return torch.optim.SGD(groups, lr=1.0)


def rates(schedule: Any, updates: int) -> list[list[float]]:
    """The rates that each update uses, a list a group."""
    seen = []
    for _ in range(updates):
        seen.append([group["lr"] for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    return [list(group) for group in zip(*seen, strict=True)]


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [
        ({}, [1, 0.75, 0.5, 0.25, 0]),
        ({"num_warmup_steps": 2}, [0, 0.5, 1, 0.5, 0]),
        ({"warmup_ratio": 0.5}, [0, 0.5, 1, 0.5, 0]),
        # Not rounded: the rate is 0 before update 0.65 and falls from there on.
        ({"warmup_ratio": 0.1625}, [0, 3 / 3.35, 2 / 3.35, 1 / 3.35, 0]),
    ],
)
def test_warmup_and_decay(warmup: dict[str, float], expected: list[float]) -> None:
    config = ScheduleConfig(num_training_steps=4, **warmup)
    (seen,) = rates(RecipeSchedule(optimizer("decay"), config), 5)
    assert seen == pytest.approx(expected)


def test_the_rate_stays_zero_after_the_end() -> None:
    (seen,) = rates(RecipeSchedule(optimizer("decay"), ScheduleConfig(num_training_steps=2)), 5)
    assert seen[2:] == [0, 0, 0]


@pytest.mark.parametrize(
    ("milestones", "expected"),
    [
        ([1], [1, 1, 0.1, 0.1, 0.1, 0.1]),
        ([1, 2], [1, 1, 0.1, 0.1, 0.01, 0.01]),
        ([0], [0.1] * 6),
        ([], [1] * 6),
        (None, [0, 0.5, 1, 0.75, 0.5, 0.25]),  # as everything else
    ],
)
def test_the_tower_steps_down_at_the_start_of_epochs(
    milestones: list[int] | None, expected: list[float]
) -> None:
    config = ScheduleConfig(
        num_training_steps=6, num_warmup_steps=2, milestones=milestones, updates_per_epoch=2
    )
    linear, tower = rates(RecipeSchedule(optimizer("no_decay", "tower"), config), 6)
    assert linear == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25])
    assert tower == pytest.approx(expected)


@pytest.fixture
def run_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that registers a run's length and builds the registered scheduler from a yaml."""
    clipvil_mmf.register()
    monkeypatch.setitem(registry.mapping, "state", {})

    def build(run: RunLength | None, **params: Any) -> Any:
        if run is not None:
            registry.register("run_length", run)
        cls = registry.get_scheduler_class("clipvil_recipe")
        return cls(optimizer("decay", "tower"), **OmegaConf.create(params))

    return build


CARRIED = RunLength(26, 12, 8, "carry", 4)


def test_the_length_comes_from_the_run(run_of: Any) -> None:
    decay, tower = rates(run_of(CARRIED, milestones=[2], warmup_ratio=0.05), 12)
    assert decay[:2] == pytest.approx([0, 12 / 12.35])
    assert decay[-1] == pytest.approx(2 / 12.35)
    assert tower == pytest.approx([1] * 6 + [0.1] * 6)


def test_the_yaml_goes_before_the_run(run_of: Any) -> None:
    params = {"num_training_steps": 4, "updates_per_epoch": 1, "milestones": [1]}
    decay, tower = rates(run_of(CARRIED, **params, milestone_factor=0.5), 4)
    assert decay == pytest.approx([1, 0.75, 0.5, 0.25])
    assert tower == pytest.approx([1, 0.5, 0.5, 0.5])


def test_a_run_given_by_updates(run_of: Any) -> None:
    """Milestones are epochs there, too."""
    decay, tower = rates(run_of(RunLength(4, 8, 2, "step"), milestones=[1, 3]), 8)
    assert decay == pytest.approx([1 - update / 8 for update in range(8)])
    assert tower == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_a_run_that_only_predicts_builds_one_as_well(run_of: Any) -> None:
    run_of(RunLength(0, 0), milestones=[2], warmup_ratio=0.1)


@pytest.mark.parametrize(
    ("run", "params", "message"),
    [
        (None, {}, r"scheduler\.params\.num_training_steps: null.*give a number of updates"),
        (RunLength(None, 8), {"milestones": [1]}, r"params\.updates_per_epoch: null"),
        (
            CARRIED,
            {"milestone": [1]},
            r"params\.milestone: unknown key\. Did you mean 'milestones'",
        ),
        (CARRIED, {"warmup_ratio": 5}, r"params\.warmup_ratio: got 5\.0, expected 0 to 1"),
        (
            CARRIED,
            {"warmup_ratio": 0.1, "num_warmup_steps": 3},
            r"warmup_ratio: num_warmup_steps is given as well",
        ),
        (CARRIED, {"milestones": [-1]}, r"milestones: got -1, expected at least 0"),
        (CARRIED, {"milestones": "2"}, r"milestones: got '2'"),
        (CARRIED, {"milestone_factor": 0.0}, r"milestone_factor: got 0\.0, expected above 0"),
        (CARRIED, {"num_training_steps": 0}, r"num_training_steps: got 0, expected at least 1"),
    ],
)
def test_bad_settings(run_of: Any, run: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_of(run, **params)


def test_rc7s_calling_convention_gives_the_same_rates(run_of: Any) -> None:
    """Stock rc7 calls `step(num_updates)`, main calls `step()`."""
    schedule, told = (run_of(CARRIED, milestones=[2], warmup_ratio=0.25) for _ in range(2))
    for update in range(1, 8):
        schedule.optimizer.step()
        schedule.step()
        told.optimizer.step()
        with pytest.warns(UserWarning, match="epoch parameter"):
            told.step(update)
        assert told.get_last_lr() == pytest.approx(schedule.get_last_lr())


def test_a_run_of_fewer_epochs_than_its_schedule() -> None:
    """The published first stage: 20 epochs, of which 9 are made."""
    registry.register("run_length", RunLength(40, 9 * 20, 2, "carry", 9))
    try:
        schedule = registry.get_scheduler_class("clipvil_recipe")
        config = {"epochs": 20, "warmup_ratio": 0.025, "milestones": [12, 17]}
        seen, tower = rates(schedule(optimizer("decay", "tower"), **config), 180)
    finally:
        registry.unregister("run_length")
    assert seen[0] == 0 and max(seen) == seen[10] == 1
    assert seen[179] == pytest.approx(1 - 169 / 390)
    assert set(tower) == {1.0}
    with pytest.raises(ConfigError, match="epochs: num_training_steps is given as well"):
        ScheduleConfig(epochs=2, num_training_steps=10)
