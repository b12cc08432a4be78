"""The trainer of the main line: MMF main's, with the loop that it shares its meaning with rc7's.

Registered as ``mmf`` in place of main's own, whose callbacks it calls at the same places. Beside
what main does: bf16, autocast in evaluation, processes on CPU, accumulation without needless
all-reduces, and a resume that continues an interrupted run bit for bit (weights, optimizer,
scheduler, counters, random numbers, position in the epoch).
"""

from __future__ import annotations

import gc
import logging
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import torch
from mmf.common.registry import registry
from mmf.common.report import Report
from mmf.common.sample import to_device
from mmf.trainers.mmf_trainer import MMFTrainer as StockTrainer
from mmf.utils.distributed import is_main
from mmf.utils.general import extract_loss
from torch.utils.data import IterableDataset

from mmf_bridge.common.distributed import (
    synchronize,
)
from mmf_bridge.common.precision import Precision
from mmf_bridge.common.progress import TrainingProgress
from mmf_bridge.common.training import TrainingCore
from mmf_bridge.common.training_meter import TrainingMeter
from mmf_bridge.main.evaluation import EvaluationLoop

logger = logging.getLogger("mmf.trainers.mmf_trainer")


def patch(module: ModuleType) -> None:
    """Register the trainer under its own name and under rc7's."""
    registry.register_trainer("mmf")(MMFTrainer)
    registry.register_trainer("base_trainer")(MMFTrainer)
    module.MMFTrainer = MMFTrainer


class _Writer:
    """rc7's name for logging, which the checkpoint code of both lines uses."""

    def write(self, message: Any, level: str = "info") -> None:
        getattr(logger, level)(message)


class MMFTrainer(TrainingCore, EvaluationLoop, StockTrainer):
    """Trains and evaluates what MMF's configuration describes."""

    combined: Report | None = None
    writer = _Writer()

    @property
    def checkpoint(self) -> Any:
        return self.checkpoint_callback.checkpoint

    @property
    def early_stopping(self) -> Any:
        return self.early_stop_callback.early_stopping

    @property
    def lr_scheduler(self) -> Any:
        return self.lr_scheduler_callback._scheduler

    def load(self) -> None:
        self.choose_sampler_seed()
        registry.register("data_parallel", False)
        registry.register("distributed", False)
        self.meter = TrainingMeter()  # stock MMF shares one between all runs of a process
        super().load()
        if self.resumes_another_order():
            self.train_loader = self.dataset_loader.train_dataloader()

    def configure_device(self) -> None:
        self.choose_device()

    def configure_seed(self) -> None:
        self.configure_cudnn()

    def load_fp16_scaler(self) -> None:
        self.precision = Precision(self.training_config, self.device)
        self.scaler = self.precision.scaler

    def load_datasets(self) -> None:
        super().load_datasets()
        loader = self.train_loader
        stream = loader.num_datasets and isinstance(loader.current_dataset, IterableDataset)
        self.measure_run(None if stream else len(loader))

    def training_loop(self) -> None:
        if not self.train_loader.num_datasets:
            raise ValueError(f"No dataset of {self.config.datasets} has a train split")
        self.max_updates = self.run_length.max_updates
        torch.autograd.set_detect_anomaly(self.training_config.detect_anomaly)
        logger.info("Starting training...")
        self.model.train()
        self.progress = TrainingProgress(self.max_updates, self.num_updates, is_main())
        self.run_training_epoch()
        self.after_training_loop()
        self.progress.close()

    def after_training_loop(self) -> None:
        """Judge and keep the updates since the last evaluation and the last checkpoint."""
        if self.last_evaluated != self.num_updates:
            logger.info("Stepping into final validation check")
            self._validate()
        if self.last_saved != self.num_updates:
            self.checkpoint.save(self.num_updates, self.current_iteration)
        self.training_ended()
        synchronize()

    def run_training_epoch(self) -> None:
        """Train until the last update or an early stop, epoch after epoch."""
        self.run_epochs()

    def _train_epoch(self) -> bool:
        """Train the rest of the current epoch; say whether to stop."""
        run, position = self.run_length, self.batches_done or 0
        for batch in self.rest_of_epoch():
            if self.pending == 0:
                self._start_update()
            divisor = run.divisor(position)
            position += 1
            self.pending += 1
            self.current_iteration += 1
            self.on_batch_start()
            self.profile("Batch load time")
            finishes = run.finishes(position)
            report = self.run_training_batch(batch, divisor, finishes)
            self.combined = self._combine(self.combined, report.detach())
            self.on_batch_end(report=self.combined, meter=self.meter)
            if not finishes:
                continue
            self.batches_done = position
            self._finish_update()
            if self._after_update(self.combined) or self.num_updates >= self.max_updates:
                return True
        return False

    def _combine(self, combined: Report | None, report: Report) -> Report:
        """Add a batch's report to those of its update."""
        if combined is None:
            return report
        combined.accumulate_tensor_fields_and_loss(report, self.metrics.required_params)
        combined.batch_size += report.batch_size
        return combined

    def _after_update(self, report: Report) -> bool:
        """Log, save and validate where their intervals say so; say whether to stop early."""
        registry.register("current_iteration", self.current_iteration)
        registry.register("num_updates", self.num_updates)
        should_log = self.num_updates % self.logistics_callback.log_interval == 0
        if should_log:
            if self.training_config.evaluate_metrics:
                report.metrics = self.metrics(report, report)
            means = self.meter.finish_line(report.metrics if "metrics" in report else {})
            self.progress.show(loss=means[f"{report.dataset_type}/total_loss"])
            writer = self.logistics_callback.tb_writer
            if writer is not None:
                lr = self.optimizer.param_groups[0]["lr"]
                writer.add_scalars({"train/lr": lr}, self.current_iteration)
        self.on_update_end(report=report, meter=self.meter, should_log=should_log)
        self.end_if_interrupted()
        return self.num_updates % self.training_config.evaluation_interval == 0 and self._validate()

    def _validate(self) -> bool:
        """Evaluate the val split, if there is one, and say whether to stop early."""
        if not self.val_loader.num_datasets:
            return False
        self.on_validation_start()
        logger.info("Evaluation time. Running on full validation set...")
        report, meter = self.interruptible(self.evaluation_loop, "val")
        self.last_evaluated = self.num_updates
        # Saves a checkpoint, and the best one where this is it.
        stop = self.early_stop_callback.on_validation_end(report=report, meter=meter)
        self.on_validation_end(report=report, meter=meter)
        criterion = meter.meters[self.early_stopping.early_stop_criteria]
        self.progress.show(val=float(criterion.global_avg))
        gc.collect()
        if stop:
            logger.info("Early stopping activated")
        return stop

    def finalize(self) -> None:
        for loader in (self.train_loader, self.val_loader, self.test_loader):
            loader.stop_workers()
        super().finalize()

    def run_training_batch(
        self, batch: Any, loss_divisor: int, synchronize_gradients: bool = True
    ) -> Report:
        waits = self.distributed and not synchronize_gradients and hasattr(self.model, "no_sync")
        with self.model.no_sync() if waits else nullcontext():
            report = self._forward(batch)
            loss = extract_loss(report, loss_divisor)
            self._backward(loss)
        self._update_loss = self._update_loss + loss.detach()
        self.meter.add(report)
        return report

    def on_device(self, batch: Any) -> Any:
        return to_device(batch, self.device)

    def _forward(self, batch: Any, model: torch.nn.Module | None = None) -> Report:
        prepared = self.on_device(batch)
        if model is None:
            self.run_report.batch_begins(prepared)
        with self.precision.autocast():
            output = (model or self.model)(prepared)
        self.profile("Forward time")
        return Report(prepared, output)

    def _start_update(self) -> None:
        self.on_update_start()
        self.optimizer.zero_grad(set_to_none=True)
        self._update_loss = 0.0
        self.combined = None

    def _finish_update(self) -> None:
        writer = self.logistics_callback.tb_writer
        self.prepare_step(writer, self.checkpoint.ckpt_foldername)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.pending = 0
        self.num_updates += 1
        self.run_report.update_ended()
        self.progress.update()
        self.profile("Finished update")
