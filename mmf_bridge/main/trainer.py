"""The parts of MMF main that the shared trainer stands on.

It loads, logs, saves and steps the scheduler as main's own callbacks do, which hold the parts for
it; the callbacks of users are called at the places where stock MMF calls them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from mmf.common.registry import registry
from mmf.common.report import Report
from mmf.trainers.mmf_trainer import MMFTrainer as StockTrainer
from mmf.utils.logger import summarize_report

from mmf_bridge.common.distributed import get_rank
from mmf_bridge.common.trainer import Trainer

logger = logging.getLogger("mmf.trainers.mmf_trainer")


def _keep_from_console(record: logging.LogRecord) -> bool:
    record.console = False
    return True


# MMF logs its lines of figures under the name of the module that asks for them.
logging.getLogger(__name__).addFilter(_keep_from_console)


def patch(module: ModuleType) -> None:
    """Register the trainer under its own name and under rc7's."""
    registry.register_trainer("mmf")(MMFTrainer)
    registry.register_trainer("base_trainer")(MMFTrainer)
    module.MMFTrainer = MMFTrainer


class _Writer:
    """rc7's name for logging."""

    def write(self, message: Any, level: str = "info") -> None:
        getattr(logger, level)(message)


class MMFTrainer(Trainer, StockTrainer):
    """Trains and evaluates what MMF's configuration describes."""

    writer = _Writer()

    @property
    def checkpoint(self) -> Any:
        # None in a trainer of somebody's own that does without the callback, as in stock MMF.
        return getattr(getattr(self, "checkpoint_callback", None), "checkpoint", None)

    @property
    def early_stopping(self) -> Any:
        return self.early_stop_callback.early_stopping

    @property
    def lr_scheduler(self) -> Any:
        return getattr(getattr(self, "lr_scheduler_callback", None), "_scheduler", None)

    @property
    def tb_writer(self) -> Any:
        return self.logistics_callback.tb_writer

    @property
    def tensorboard_step(self) -> int:
        return self.current_iteration

    def load_datasets(self) -> None:
        super().load_datasets()
        self.measure_run()

    def rebuild_train_loader(self) -> None:
        self.train_loader = self.dataset_loader.train_dataloader()

    def configure_callbacks(self) -> None:
        super().configure_callbacks()
        own = (self.lr_scheduler_callback, self.checkpoint_callback, self.logistics_callback)
        self.callbacks = [callback for callback in self.callbacks if callback not in own]

    def on_init_start(self, **kwargs: Any) -> None:
        if self.checkpoint is not None:
            self.checkpoint.load_state_dict()
        super().on_init_start(**kwargs)

    def tell(self, event: str, **kwargs: Any) -> None:
        getattr(self, event)(**kwargs)

    def combined(self, so_far: Report | None, report: Report) -> Report:
        report = report.detach()
        if so_far is None:
            return report
        so_far.accumulate_tensor_fields_and_loss(report, self.metrics.required_params)
        so_far.batch_size += report.batch_size
        return so_far

    def summarize(self, meter: Any, extra: Mapping[str, Any]) -> None:
        if get_rank() == 0:
            self.track(meter.get_scalar_dict())
        summarize_report(
            self.current_iteration,
            self.num_updates,
            self.max_updates,
            meter,
            extra=extra,
            wandb_logger=self.logistics_callback.wandb_logger,
        )

    def finalize(self) -> None:
        super().finalize()
        self.dataset_loader.teardown()
        self.teardown()
