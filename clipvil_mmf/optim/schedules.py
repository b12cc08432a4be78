"""The published learning rates: linear warmup and decay, and milestones for the visual tower.

Pure numbers and torch; `registered.py` takes the run's length from MMF.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from clipvil_mmf.config import ConfigError, check_at_least
from clipvil_mmf.optim.groups import TOWER


@dataclass
class ScheduleConfig:
    """`scheduler.params` of the scheduler `clipvil_recipe`."""

    # Updates until the rate is zero; null for the run's length.
    num_training_steps: int | None = None
    # Epochs of the run until the rate is zero, instead of num_training_steps: a run of fewer of
    # them stops before that.
    epochs: int | None = None
    # Updates until the full rate; or give warmup_ratio. Neither means no warmup.
    num_warmup_steps: float | None = None
    # Updates until the full rate as a share of num_training_steps, not rounded (as published).
    warmup_ratio: float | None = None
    # Epochs, counted from 0, from which on the group `tower` has its rate multiplied by
    # milestone_factor once more; [] keeps it constant, null schedules the tower like the others.
    milestones: list[int] | None = None
    milestone_factor: float = 0.1
    # Updates of an epoch, which milestones need; null for the run's.
    updates_per_epoch: int | None = None

    def __post_init__(self) -> None:
        if self.num_warmup_steps is not None and self.warmup_ratio is not None:
            raise ConfigError("warmup_ratio: num_warmup_steps is given as well; keep one of them.")
        if self.num_warmup_steps is not None:
            check_at_least("num_warmup_steps", self.num_warmup_steps, 0)
        if self.warmup_ratio is not None and not 0.0 <= self.warmup_ratio <= 1.0:
            raise ConfigError(f"warmup_ratio: got {self.warmup_ratio}, expected 0 to 1.")
        if self.num_training_steps is not None and self.epochs is not None:
            raise ConfigError("epochs: num_training_steps is given as well; keep one of them.")
        for key in ("num_training_steps", "epochs", "updates_per_epoch"):
            if getattr(self, key) is not None:
                check_at_least(key, getattr(self, key), 1)
        for milestone in self.milestones or []:
            check_at_least("milestones", milestone, 0)
        if self.milestone_factor <= 0.0:
            raise ConfigError(f"milestone_factor: got {self.milestone_factor}, expected above 0.")


def linear(warmup: float, total: int) -> Callable[[int], float]:
    """From 0 at update 0 to 1 at update `warmup`, and down to 0 at update `total`."""

    def factor(updates: int) -> float:
        if updates < warmup:
            return updates / max(1.0, warmup)
        return max(0.0, (total - updates) / max(1.0, total - warmup))

    return factor


def steps_at_epochs(
    milestones: Sequence[int], factor: float, updates_per_epoch: int
) -> Callable[[int], float]:
    """`factor` for each milestone that has been reached; it changes at the start of an epoch."""
    return lambda updates: factor ** sum(updates // updates_per_epoch >= m for m in milestones)


class RecipeSchedule(LambdaLR):
    """Linear warmup and decay; the group `tower` steps down at milestones instead.

    `step()` is to be called after each update. The first update has rate 0, if there is a warmup.
    The groups may have a `name`, as `parameter_groups` gives them. A null `num_training_steps`, or
    with milestones `updates_per_epoch`, is a `ConfigError`.
    """

    def __init__(self, optimizer: Optimizer, config: ScheduleConfig) -> None:
        total = _given(config, "num_training_steps")
        warmup = config.num_warmup_steps or (config.warmup_ratio or 0.0) * total
        common = tower = linear(warmup, total)
        if config.milestones is not None:
            per_epoch = _given(config, "updates_per_epoch")
            tower = steps_at_epochs(config.milestones, config.milestone_factor, per_epoch)
        names = [group.get("name") for group in optimizer.param_groups]
        super().__init__(optimizer, [tower if name == TOWER else common for name in names])


def _given(config: ScheduleConfig, key: str) -> int:
    value = getattr(config, key)
    if value is None:
        raise ConfigError(
            f"scheduler.params.{key}: null, and the run does not say it (its data have no known "
            "length, or MMF runs without mmf_bridge); give a number of updates."
        )
    return value
