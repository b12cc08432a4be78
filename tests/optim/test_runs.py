"""Optimizers and schedules in runs of MMF's trainer, on the line that is installed."""

from __future__ import annotations

import dataclasses
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from tests.bridge.runs import equal
from tests.golden import mmf_run
from tests.golden.trajectories import Recipe

# 5 micro-batches an epoch, two an update: 2, 2, and one that is carried over.
RECIPE = Recipe(
    lr=5e-4,
    tower_lr=1e-2,
    milestones=[1, 2],
    warmup_ratio=0.2,
    epochs=3,
    accumulation=2,
    batches_per_epoch=5,
)


class Killed(BaseException):
    """What no handler catches: as good as SIGKILL to the files."""


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files need not outlive a power cut here."""
    monkeypatch.setattr("os.fsync", lambda file: None)


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that lets the process die as it loads the given micro-batch of the next run."""
    import clipvil_mmf
    from tests.golden.micro_batches.dataset import MicroBatches

    clipvil_mmf.register()
    stock = MicroBatches.collate

    def arrange(batch: int) -> None:
        left = [batch]

        def collate(self: Any, samples: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return stock(self, samples)

        monkeypatch.setattr(MicroBatches, "collate", collate)

    return arrange


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "current.ckpt", weights_only=True)


ALONE = {"optimizer.groups.tower": None, "scheduler.params.milestones": None}
OPTIMIZERS = {
    "published": {},
    "bert_adam": {
        "optimizer.params": {"lr": 5e-4, "correct_bias": False, "decay": "before"},
        **ALONE,
    },
    "torchs_fused": {
        "optimizer": {
            "type": "AdamW",
            "params": {"lr": 5e-4, "fused": True},
            "groups": {"tower": {"lr": 1e-4}},
        }
    },
    "torchs_alone": {"optimizer": {"type": "AdamW", "params": {"lr": 5e-4}}, **ALONE},
}


def start(folder: Path, *opts: str, optimizer: str = "published") -> Any:
    changes = dict(OPTIMIZERS[optimizer])
    section = changes.pop("optimizer", None)
    return mmf_run.run(RECIPE, folder, *opts, changes=changes, optimizer=section)


@pytest.mark.parametrize("optimizer", ["published", "bert_adam", "torchs_fused"])
def test_a_killed_run_continues_bit_for_bit(tmp_path: Path, kill_at: Any, optimizer: str) -> None:
    """Twice: among the carried micro-batches of an epoch's border, and in a later epoch."""
    trainer, _ = start(tmp_path / "whole", optimizer=optimizer)
    assert (trainer.num_updates, trainer.current_iteration) == (6, 14)
    assert type(trainer.optimizer).__name__ == (
        "AdamW" if optimizer.startswith("torchs") else "AdamWSGD"
    )
    folder = tmp_path / "killed"
    for batch in (7, 6):
        kill_at(batch)
        with pytest.raises(Killed) as killed:
            start(folder, "checkpoint.resume=true", optimizer=optimizer)
        traceback.clear_frames(killed.tb)
    assert 2 < checkpoint(folder)["num_updates"] < 6
    kill_at(-1)
    start(folder, "checkpoint.resume=true", optimizer=optimizer)
    whole, resumed = checkpoint(tmp_path / "whole"), checkpoint(folder)
    for key in ("model", "optimizer", "lr_scheduler", "num_updates", "current_epoch"):
        assert equal(whole[key], resumed[key]), key


def test_the_groups_learn_at_their_rates(tmp_path: Path) -> None:
    _, seen = start(tmp_path)
    # 3 epochs of 5, two an update: the schedule lasts 15 // 2 = 7 updates, the run has 6.
    factors = [0.0, 1 / 1.4, *((7 - update) / (7 - 1.4) for update in range(2, 6))]
    assert seen.lr_adamw == pytest.approx([5e-4 * factor for factor in factors])
    assert seen.lr_sgd == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])


def test_one_optimizer_for_everything_is_a_config_line(tmp_path: Path) -> None:
    trainer, seen = start(tmp_path, optimizer="torchs_alone")
    assert [group["name"] for group in trainer.optimizer.param_groups] == ["decay", "no_decay"]
    assert trainer.num_updates == 6 and seen.delta[-1] > seen.delta[1]


def test_torchs_fused_adamw_takes_the_same_groups(tmp_path: Path) -> None:
    trainer, seen = start(tmp_path, optimizer="torchs_fused")
    groups = {group["name"]: group for group in trainer.optimizer.param_groups}
    assert all(group["fused"] for group in groups.values())
    assert [groups[name]["weight_decay"] for name in ("decay", "no_decay", "tower")] == [
        0.01,
        0.0,
        0.01,
    ]
    assert seen.lr_sgd == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"group": {}}, r"optimizer\.group: unknown key\. Did you mean 'groups'"),
        (
            {"type": "AdamW", "groups": {"tower": {"algorithm": "sgd"}}},
            r"optimizer\.groups\.tower\.algorithm: AdamW has one algorithm for all groups",
        ),
        ({"groups": {"towr": {}}}, r"optimizer\.groups\.towr: unknown key\. Did you mean 'tower'"),
    ],
)
def test_a_bad_section_is_one_clear_error(
    tmp_path: Path, section: dict[str, Any], message: str
) -> None:
    full = {"type": "clipvil_adamw_sgd", "params": {"lr": 1e-3}, **section}
    with pytest.raises(ValueError, match=message):
        mmf_run.run(RECIPE, tmp_path, optimizer=full)


def test_a_run_given_by_updates_stops_within_an_epoch(tmp_path: Path) -> None:
    trainer, seen = mmf_run.run(
        dataclasses.replace(RECIPE, warmup_ratio=0.0),
        tmp_path,
        changes={"training.max_epochs": None, "training.max_updates": 5},
    )
    assert trainer.num_updates == 5
    assert seen.lr_adamw == pytest.approx([5e-4 * (5 - update) / 5 for update in range(5)])
    assert seen.lr_sgd == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4])


# Those of classes, whose losses take no soft scores, are in tests/e2e/test_classes.py.
RECIPES = sorted(
    path.name
    for path in mmf_run.RECIPES.glob("*_*.yaml")
    if not path.stem.endswith(("nlvr2", "snli_ve"))
)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_file_is_all_that_a_run_needs(tmp_path: Path, name: str) -> None:
    """Includes resolve from the file's own folder, and no key is missing or unknown."""
    trainer, seen = mmf_run.run(
        dataclasses.replace(RECIPE, batches_per_epoch=9),
        tmp_path,
        recipe_file=name,
        changes={"training.max_epochs": 1},
    )
    config = trainer.config
    assert config.optimizer.params.lr == OmegaConf.load(mmf_run.RECIPES / name).optimizer.params.lr
    assert trainer.max_norm == (5.0 if "lxmert" in name else 1.0)
    groups = {group["name"]: group for group in trainer.optimizer.param_groups}
    if "lxmert" in name:
        assert groups.keys() == {"decay"}
        assert groups["decay"]["correct_bias"] is False
    else:
        assert groups["tower"]["algorithm"] == "sgd" and groups["tower"]["weight_decay"] == 4e-4
        assert config.training.leftover_batches == "carry"
    assert len(seen.norms) == trainer.num_updates > 0
