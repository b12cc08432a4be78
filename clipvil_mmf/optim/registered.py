"""What MMF finds by name: `optimizer.type: clipvil_adamw_sgd`, `scheduler.type: clipvil_recipe`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmf.common.registry import registry
from torch.optim import Optimizer

from clipvil_mmf.config import from_config
from clipvil_mmf.optim.optimizers import AdamWSGD
from clipvil_mmf.optim.schedules import RecipeSchedule, ScheduleConfig

registry.register_optimizer("clipvil_adamw_sgd")(AdamWSGD)


@registry.register_scheduler("clipvil_recipe")
class RunSchedule(RecipeSchedule):
    """`RecipeSchedule` over the length of the run, which the trainer registers as `run_length`.

    What `scheduler.params` (`ScheduleConfig`) say goes before that.
    """

    def __init__(self, optimizer: Optimizer, **params: Any) -> None:
        config = from_config(ScheduleConfig, params, "scheduler.params")
        run = registry.get("run_length", no_warning=True)
        if run is not None:
            epochs, whole = config.epochs, run.scheduled_updates
            lengths = {
                "num_training_steps": whole if epochs is None else run.updates_in(epochs),
                "updates_per_epoch": run.updates_per_epoch,
            }
            config = replace(config, epochs=None)
            for key, value in lengths.items():
                if getattr(config, key) is None and value is not None:
                    # A run that only predicts has no updates, but MMF builds its scheduler.
                    config = replace(config, **{key: max(1, value)})
        super().__init__(optimizer, config)
