"""Patches of ``mmf.utils.early_stopping``: one decision, and a criterion that exists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from mmf_bridge.common.distributed import broadcast_object, get_rank, unwrap
from mmf_bridge.common.replace import replace

_KEY = "training.early_stop.criteria"
_TOTAL_LOSS = "val/total_loss"


def patch(module: ModuleType) -> None:
    """Replace the decision: in stock MMF one rank waits in a barrier, the others in a broadcast."""

    class EarlyStopping(module.EarlyStopping):
        __doc__ = module.EarlyStopping.__doc__

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            # Stock MMF looks for "val" anywhere, and finds it in a dataset's name.
            if not self.early_stop_criteria.startswith("val/"):
                self.early_stop_criteria = f"val/{self.early_stop_criteria}"
            self.metric = self.early_stop_criteria

        def __call__(self, update: int, iteration: int, meter: Any) -> bool:
            """Save a checkpoint after an evaluation, and say whether training should stop.

            The figures come from rank 0 and every rank returns the same answer; restoring the best
            weights is left to the end of training.
            """
            figures = {name: float(value.global_avg) for name, value in meter.meters.items()}
            figures = broadcast_object(figures if get_rank() == 0 else None)
            if self.early_stop_criteria not in figures:
                self._do_without_criterion(figures)
            value = figures[self.early_stop_criteria]
            sign = -1 if self.minimize else 1
            improved = sign * value > sign * self.best_monitored_value
            if improved:
                self.best_monitored_value = value
                self.best_monitored_iteration = iteration
                self.best_monitored_update = update
            self.checkpoint.save(update, iteration, update_best=improved)
            self.activated = not improved and self.best_monitored_update + self.patience < update
            return self.activated and bool(self.should_stop)

        def check_criterion(self, trainer: Any) -> None:
            """Look before training whether evaluations will give the criterion.

            Raises:
                ValueError: they will not, though training should stop by it.
            """
            datasets = [dataset.dataset_name for dataset in trainer.val_loader.get_datasets()]
            losses = getattr(getattr(unwrap(trainer.model), "losses", None), "losses", ())
            losses = [name for loss in losses if (name := getattr(loss, "name", None))]
            names = [*trainer.metrics.metrics, *losses]
            figures = [f"val/{dataset}/{name}" for dataset in datasets for name in names]
            figures.append(_TOTAL_LOSS)
            criterion = f"{self.early_stop_criteria}/"
            # A metric or a loss may give several figures, with names of their own behind its name.
            known = any(criterion.startswith(f"{figure}/") for figure in figures)
            # A model whose configuration names no losses has its own, which nobody knows yet.
            own = not losses and any(criterion.startswith(f"val/{name}/") for name in datasets)
            if datasets and not known and not own:
                self._do_without_criterion(figures)

        def _do_without_criterion(self, figures: Iterable[str]) -> None:
            there_are = ", ".join(sorted(figures))
            problem = f"{_KEY} is {self.early_stop_criteria!r}, which the evaluation does not give"
            if self.should_stop or _TOTAL_LOSS not in figures:
                raise ValueError(f"{problem}; it gives: {there_are}. Name one of them")
            if get_rank() == 0:
                self.checkpoint.trainer.writer.write(
                    f"{problem}: best.ckpt will be that of the lowest {_TOTAL_LOSS}. For another "
                    f"choice, name one of: {there_are}",
                    "warning",
                )
            self.early_stop_criteria = self.metric = _TOTAL_LOSS
            self.minimize = True
            if math.isinf(self.best_monitored_value):  # else a resumed run's, which did so too
                self.best_monitored_value = math.inf

        def init_from_checkpoint(self, load: Mapping[str, Any]) -> None:
            super().init_from_checkpoint(load)
            if "best_update" in load:
                self.best_monitored_update = load["best_update"]

    replace(module, EarlyStopping)
