"""The recorded runs of 12 updates through our groups, optimizer, schedule and loss.

`traj_full` trains everything, the two others UniPT's side network beside the backbone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.checkpoints import published_name
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.optim import (
    AdamWSGD,
    GroupsConfig,
    RecipeSchedule,
    ScheduleConfig,
    parameter_groups,
)
from mmf_bridge.common.run_length import RunLength
from tests.golden.compare import GOLDEN, Deviation, deviation, inputs, load_tiny
from tests.golden.tuned import load_tuned

FULL, UNIPT, CARRY = RUNS = ("traj_full", "traj_unipt", "traj_unipt_carry")

DELTA_RTOL = 2e-4
DELTA_ATOL = 1e-8  # of the norm of a change: float32 weights near 1 are 1e-7 apart
NORM_RTOL = 1e-5
RATE_RTOL = 1e-6
FINAL_ATOL = 2e-6  # weights move by up to 3e-4
LOSS_SCALE = 500.0
MAX_NORM = 1.0
WEIGHT_DECAY = 0.01
TOWER = {"algorithm": "sgd", "momentum": 0.0, "weight_decay": 4e-4}


@dataclass
class Recipe:
    """What the arguments of a recorded run say."""

    lr: float
    tower_lr: float
    milestones: list[int]
    warmup_ratio: float
    epochs: int
    accumulation: int
    batches_per_epoch: int

    @property
    def run(self) -> RunLength:
        """The run's length, with left-over batches carried over as published."""
        updates = self.batches_per_epoch // self.accumulation * self.epochs
        return RunLength(self.batches_per_epoch, updates, self.accumulation, "carry", self.epochs)

    def optimizer(self, network: ClipVilNetwork) -> AdamWSGD:
        """The published optimizer over our groups."""
        config = GroupsConfig(tower={**TOWER, "lr": self.tower_lr})
        groups = parameter_groups(network, network.tower_parameters(), config)
        return AdamWSGD(groups, lr=self.lr, weight_decay=WEIGHT_DECAY)

    def schedule(self, optimizer: torch.optim.Optimizer) -> RecipeSchedule:
        """The published schedule over the run's length."""
        config = ScheduleConfig(
            num_training_steps=self.run.scheduled_updates,
            warmup_ratio=self.warmup_ratio,
            milestones=self.milestones,
            updates_per_epoch=self.run.updates_per_epoch,
        )
        return RecipeSchedule(optimizer, config)


@dataclass
class Trajectory:
    """What a run did, in the recorded quantities."""

    lr_adamw: list[float] = field(default_factory=list)
    lr_sgd: list[float] = field(default_factory=list)
    total_norm: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    norms: list[list[float]] = field(default_factory=list)
    delta: list[list[float]] = field(default_factory=list)
    final: dict[str, Tensor] = field(default_factory=dict)


class Recorder:
    """Notes what a recorded run notes, whoever drives the training."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, names: list[str]):
        self.network = network
        self.optimizer = optimizer
        self.seen = Trajectory()
        named = {published_name(name): value for name, value in network.named_parameters()}
        self.parameters = [named[name] for name in names]
        self.start = [parameter.detach().clone() for parameter in self.parameters]

    def before_step(self, total_norm: Tensor) -> None:
        """Note the rates that the update uses, and the joint norm before clipping."""
        rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
        assert rates["decay"] == rates.get("no_decay", rates["decay"])
        self.seen.lr_adamw.append(rates["decay"])
        if "tower" in rates:  # else it is frozen
            self.seen.lr_sgd.append(rates["tower"])
        self.seen.total_norm.append(total_norm.item())

    def after_step(self) -> None:
        """Note the norms of the parameters and of their change since the start."""
        with torch.no_grad():
            self.seen.norms.append([p.norm().item() for p in self.parameters])
            pairs = zip(self.parameters, self.start, strict=True)
            self.seen.delta.append([(p - start).norm().item() for p, start in pairs])

    def finish(self) -> Trajectory:
        """Note the final state under the published names."""
        state = self.network.state_dict()
        self.seen.final = {published_name(name): value.clone() for name, value in state.items()}
        return self.seen


def load(name: str) -> np.lib.npyio.NpzFile:
    """A recorded run: `traj_full`, `traj_unipt` or `traj_unipt_carry`."""
    return np.load(GOLDEN / f"{name}.npz")


def recipe_of(golden: np.lib.npyio.NpzFile) -> Recipe:
    """Read a recorded run's recipe from the arguments that it was started with."""
    info = json.loads(str(golden["info"]))
    arguments = info["argv"]

    def value(option: str) -> str:
        last = len(arguments) - 1 - arguments[::-1].index(option)
        return arguments[last + 1]

    assert float(value("--loss_scale")) == LOSS_SCALE
    return Recipe(
        lr=float(value("--lr")),
        tower_lr=float(value("--sgd_lr")),
        milestones=[int(epoch) for epoch in value("--schedule").split(",")],
        warmup_ratio=float(value("--warmup_ratio")),
        epochs=int(value("--epochs")),
        accumulation=int(value("--gradient_accumulation_steps")),
        batches_per_epoch=info["micro_batches_per_epoch"],
    )


def micro_batch(golden: np.lib.npyio.NpzFile, index: int) -> dict[str, Tensor]:
    """Micro-batch `index` of an epoch: the network's arguments and `targets` (3, 13)."""
    batch = inputs(golden)
    rows = torch.arange(3)
    batch["images"] = batch["images"].roll(index, 0) * np.float32(1 + 0.05 * ((index % 3) - 1))
    for key in ("input_ids", "input_mask", "segment_ids"):
        batch[key] = batch[key][(rows - 2 * index) % 3]
    batch["targets"] = torch.from_numpy(golden["in/target"]).roll(index, 0)
    return batch


def reference_updates(recipe: Recipe) -> Iterator[list[int]]:
    """The micro-batches (counted within their epochs) of each update of the published loop."""
    waiting: list[int] = []
    for _ in range(recipe.epochs):
        for index in range(recipe.batches_per_epoch):
            waiting.append(index)
            if (index + 1) % recipe.accumulation == 0:
                yield waiting
                waiting = []


def load_network(name: str) -> tuple[ClipVilNetwork, np.lib.npyio.NpzFile]:
    """The network that a recorded run started with, and the file that has its data."""
    return load_tiny() if name == FULL else load_tuned("unipt")


@cache
def train(
    name: str,
    batches_per_epoch: int | None = None,
    updates: int | None = None,
    to_the_last_batch: bool = True,
    build_optimizer: Callable[[Recipe, ClipVilNetwork], torch.optim.Optimizer] = Recipe.optimizer,
) -> Trajectory:
    """Repeat a run in a plain loop.

    Args:
        name: the recorded run.
        batches_per_epoch: instead of the recorded one.
        updates: stop after so many.
        to_the_last_batch: compute, as the published loop does, also those micro-batches at the
            run's end that no update follows: BatchNorm sees them.
        build_optimizer: instead of the published one.
    """
    recipe = recipe_of(load(name))
    if batches_per_epoch is not None:
        recipe.batches_per_epoch = batches_per_epoch
    network, data = load_network(name)
    network.train()
    optimizer = build_optimizer(recipe, network)
    schedule = recipe.schedule(optimizer)
    recorder = Recorder(network, optimizer, names_of(name))

    def loss_of(index: int) -> Tensor:
        batch = micro_batch(data, index)
        targets = batch.pop("targets")
        loss = F.binary_cross_entropy_with_logits(network(**batch).scores, targets)
        recorder.seen.loss.append(loss.item())
        return loss

    for update in islice(reference_updates(recipe), updates):
        for index in update:
            (loss_of(index) * LOSS_SCALE / recipe.accumulation).backward()
        recorder.before_step(nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM))
        optimizer.step()
        recorder.after_step()
        schedule.step()
        optimizer.zero_grad()
    if updates is None and to_the_last_batch:
        for index in left_over(recipe):
            loss_of(index)
    return recorder.finish()


def left_over(recipe: Recipe) -> range:
    """The micro-batches of the last epoch that no update uses."""
    total = recipe.batches_per_epoch
    return range(total - total % recipe.accumulation, total)


def names_of(name: str) -> list[str]:
    """The parameters that a run has recorded."""
    return load(name)["names"].tolist()


def rates(recipe: Recipe) -> tuple[list[float], list[float]]:
    """The rates of AdamW and of SGD in every update, by schedule and run length alone."""
    network, _ = load_tiny()
    optimizer = recipe.optimizer(network)
    schedule = recipe.schedule(optimizer)
    seen: tuple[list[float], list[float]] = ([], [])
    for _ in range(recipe.run.max_updates):
        rate = {group["name"]: group["lr"] for group in optimizer.param_groups}
        seen[0].append(rate["decay"])
        seen[1].append(rate["tower"])
        optimizer.step()
        schedule.step()
    return seen


def compare(name: str, seen: Trajectory) -> list[Deviation]:
    """The deviation of a run from a recorded one, one row a recorded quantity."""
    golden = load(name)
    # A recorded run has a rate for the tower where that is frozen too; the schedule has it as well.
    tower = seen.lr_sgd or rates(recipe_of(golden))[1]
    rows = [
        _row(f"{name}/lr_adamw", seen.lr_adamw, golden["lr_adamw"], RATE_RTOL),
        _row(f"{name}/lr_sgd", tower, golden["lr_sgd"], RATE_RTOL),
        _row(f"{name}/total_norm", seen.total_norm, golden["total_norm"], NORM_RTOL),
        _row(f"{name}/loss", seen.loss, golden["loss"], NORM_RTOL),
        _row(f"{name}/norms", seen.norms, golden["norms"], NORM_RTOL),
        _row(f"{name}/delta", seen.delta, golden["delta"], DELTA_RTOL, DELTA_ATOL),
    ]
    rows += [
        _row(f"{name}/{recorded}", seen.final[key], golden[recorded], 0.0, FINAL_ATOL)
        for recorded in golden.files
        if (key := recorded.removeprefix("final/")) != recorded
    ]
    return rows


def compare_rates(name: str) -> list[Deviation]:
    """The deviation of our rates from a recorded run's, whatever was trained in it."""
    golden = load(name)
    adamw, sgd = rates(recipe_of(golden))
    return [
        _row(f"{name}/lr_adamw", adamw, golden["lr_adamw"], RATE_RTOL),
        _row(f"{name}/lr_sgd", sgd, golden["lr_sgd"], RATE_RTOL),
    ]


def rows() -> list[Deviation]:
    """Every comparison of this file, for the report."""
    return [row for name in RUNS for row in compare(name, train(name))]


def _row(
    quantity: str, ours: Any, golden: np.ndarray, rtol: float, atol: float = 1e-12
) -> Deviation:
    tolerance = atol + rtol * np.abs(golden.astype(np.float64))
    return deviation(quantity, torch.as_tensor(ours, dtype=torch.float64), golden, tolerance)
