"""Mends of ``mmf.utils.early_stopping``: all processes decide, and a resumed run remembers."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from mmf_bridge.common.distributed import broadcast_object, get_rank
from mmf_bridge.common.replace import replace


def mend(module: ModuleType) -> None:
    """Replace the decision: in stock MMF one rank waits in a barrier, the others in a broadcast."""

    class EarlyStopping(module.EarlyStopping):
        __doc__ = module.EarlyStopping.__doc__

        def __call__(self, update: int, iteration: int, meter: Any) -> bool:
            """Save a checkpoint after an evaluation, and say whether training should stop.

            The figures come from rank 0 and every rank returns the same answer; restoring the best
            weights is left to the end of training.

            Raises:
                ValueError: ``early_stop.criteria`` is not among the evaluation's figures.
            """
            value = broadcast_object(self._monitored(meter) if get_rank() == 0 else None)
            sign = -1 if self.minimize else 1
            improved = sign * value > sign * self.best_monitored_value
            if improved:
                self.best_monitored_value = value
                self.best_monitored_iteration = iteration
                self.best_monitored_update = update
            self.checkpoint.save(update, iteration, update_best=improved)
            self.activated = not improved and self.best_monitored_update + self.patience < update
            return self.activated and bool(self.should_stop)

        def _monitored(self, meter: Any) -> float:
            known = meter.meters
            if self.early_stop_criteria not in known:
                raise ValueError(
                    f"training.early_stop.criteria is {self.early_stop_criteria!r}, which the "
                    f"evaluation does not give; it gives: {', '.join(sorted(known))}"
                )
            return float(known[self.early_stop_criteria].global_avg)

        def init_from_checkpoint(self, load: Mapping[str, Any]) -> None:
            super().init_from_checkpoint(load)
            if "best_update" in load:
                self.best_monitored_update = load["best_update"]

    replace(module, EarlyStopping)
