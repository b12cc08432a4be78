"""The recorded runs of 12 updates through our groups, optimizer, schedule and loss.

`traj_full` trains everything, the two others UniPT's side network beside the backbone.
"""

from __future__ import annotations

import copy
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

from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.optim import (
    AdamWSGD,
    GroupsConfig,
    RecipeSchedule,
    ScheduleConfig,
    parameter_groups,
)
from mmf_bridge.common.run_length import RunLength
from tests.golden.compare import GOLDEN, Deviation, compile_with, deviation, inputs, load_tiny
from tests.golden.published import published_name
from tests.golden.tuned import load_tuned

FULL, UNIPT, CARRY = RUNS = ("traj_full", "traj_unipt", "traj_unipt_carry")

RATE_RTOL = 1e-6
LOSS_SCALE = 500.0
MAX_NORM = 1.0
WEIGHT_DECAY = 0.01
TOWER = {"algorithm": "sgd", "momentum": 0.0, "weight_decay": 4e-4}


@dataclass(frozen=True)
class Tolerances:
    """What deviations may be; relative but for the last two."""

    total_norm: float = 5e-5
    loss: float = 1e-5
    norms: float = 1e-5
    delta: float = 2e-4
    small_delta: float = 1e-8  # float32 weights near 1 are 1e-7 apart
    final: float = 2e-6  # weights move by up to 3e-4


RECORDED = Tolerances()
# Of a run in float32 against one with gradients in float64; see `compare.FLOAT32`.
FLOAT32 = Tolerances(2e-2, loss=1e-4, norms=1e-4, delta=2e-2, small_delta=2e-7, final=1e-5)


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
    dtype: torch.dtype = torch.float64,
    backend: str | None = None,
) -> Trajectory:
    """Repeat a run in a plain loop.

    Weights are float32 and moved in it, as recorded: those near 1 are hardly finer than an update.

    Args:
        name: the recorded run.
        batches_per_epoch: instead of the recorded one.
        updates: stop after so many.
        to_the_last_batch: compute, as the published loop does, also those micro-batches at the
            run's end that no update follows: BatchNorm sees them.
        build_optimizer: instead of the published one.
        dtype: what losses and gradients are computed in; float32, as recorded, has as much of the
            processor's own rounding as the tolerances allow.
        backend: of torch.compile; None computes as it is.
    """
    recipe = recipe_of(load(name))
    if batches_per_epoch is not None:
        recipe.batches_per_epoch = batches_per_epoch
    network, data = load_network(name)
    network.train()
    computing = copy.deepcopy(network).to(dtype)
    compile_with(computing, backend)
    pairs = list(zip(network.parameters(), computing.parameters(), strict=True))
    optimizer = build_optimizer(recipe, network)
    schedule = recipe.schedule(optimizer)
    recorder = Recorder(network, optimizer, names_of(name))

    def loss_of(index: int) -> Tensor:
        batch = micro_batch(data, index)
        targets = batch.pop("targets").to(dtype)
        batch["images"] = batch["images"].to(dtype)
        loss = F.binary_cross_entropy_with_logits(computing(**batch).scores, targets)
        recorder.seen.loss.append(loss.item())
        return loss

    for update in islice(reference_updates(recipe), updates):
        for index in update:
            (loss_of(index) * LOSS_SCALE / recipe.accumulation).backward()
        for weight, computed in pairs:
            weight.grad = None if computed.grad is None else computed.grad.float()
            computed.grad = None
        recorder.before_step(nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM))
        optimizer.step()
        recorder.after_step()
        schedule.step()
        with torch.no_grad():
            for weight, computed in pairs:
                computed.copy_(weight)
    if updates is None and to_the_last_batch:
        for index in left_over(recipe):
            loss_of(index)
    network.load_state_dict(computing.state_dict())  # BatchNorm's statistics
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


def compare(
    name: str,
    seen: Trajectory,
    tolerances: Tolerances = RECORDED,
    reference: Trajectory | None = None,
) -> list[Deviation]:
    """The deviation of a run from a recorded one, one row a recorded quantity.

    Args:
        name: the recorded run.
        seen: the run.
        tolerances: what a deviation may be.
        reference: a run of ours to compare with, in place of the recorded one.
    """
    golden = load(name)

    def expected(quantity: str) -> np.ndarray:
        return golden[quantity] if reference is None else np.array(getattr(reference, quantity))

    def row(quantity: str, atol: float = 1e-12) -> Deviation:
        rtol = getattr(tolerances, quantity)
        values = getattr(seen, quantity)
        return _row(f"{name}/{quantity}", values, expected(quantity), rtol, atol)

    rows = [
        *compare_rates(name, seen),
        row("total_norm"),
        row("loss"),
        row("norms"),
        row("delta", tolerances.small_delta),
    ]
    for quantity in golden.files:
        if (key := quantity.removeprefix("final/")) != quantity:
            final = golden[quantity] if reference is None else reference.final[key].double().numpy()
            rows.append(_row(f"{name}/{quantity}", seen.final[key], final, 0.0, tolerances.final))
    return rows


def compare_rates(name: str, seen: Trajectory | None = None) -> list[Deviation]:
    """The deviation of a run's rates from the recorded ones; without a run, of our schedule's."""
    golden = load(name)
    adamw, tower = rates(recipe_of(golden))
    if seen is not None:
        # A recorded run has a rate for the tower where that is frozen too; so has the schedule.
        adamw, tower = seen.lr_adamw, seen.lr_sgd or tower
    return [
        _row(f"{name}/lr_adamw", adamw, golden["lr_adamw"], RATE_RTOL),
        _row(f"{name}/lr_sgd", tower, golden["lr_sgd"], RATE_RTOL),
    ]


def rows(backend: str | None = None) -> list[Deviation]:
    """Every comparison with the recorded runs, gradients in float64, compiled or not."""
    return [row for name in RUNS for row in compare(name, train(name, backend=backend))]


def float32_rows(backend: str | None = None) -> list[Deviation]:
    """Every comparison of float32 with float64."""
    return [
        row
        for name in RUNS
        for row in compare(
            name, train(name, dtype=torch.float32, backend=backend), FLOAT32, train(name)
        )
    ]


def _row(
    quantity: str, ours: Any, golden: np.ndarray, rtol: float, atol: float = 1e-12
) -> Deviation:
    tolerance = atol + rtol * np.abs(golden.astype(np.float64))
    return deviation(quantity, torch.as_tensor(ours, dtype=torch.float64), golden, tolerance)
