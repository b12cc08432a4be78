"""The trainer of the rc7 line: MMF main's ``mmf`` trainer, as one loop over rc7's own parts.

Registered as ``mmf`` and in place of ``base_trainer``. Beside what rc7 does: gradient accumulation,
bf16 and fp16, processes on CPU, exact ``max_updates``, and a resume that continues an interrupted
run bit for bit (weights, optimizer, scheduler, counters, random numbers, position in the epoch).
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import torch
from mmf.common.meter import Meter
from mmf.common.registry import registry
from mmf.common.report import Report
from mmf.trainers.base_trainer import BaseTrainer
from mmf.utils.build import build_scheduler
from mmf.utils.checkpoint import Checkpoint
from mmf.utils.configuration import get_mmf_env
from mmf.utils.distributed import is_master
from mmf.utils.early_stopping import EarlyStopping
from mmf.utils.general import print_model_parameters
from mmf.utils.logger import TensorboardLogger
from mmf.utils.timer import Timer

from mmf_bridge.common.distributed import (
    synchronize,
)
from mmf_bridge.common.precision import Precision
from mmf_bridge.common.progress import TrainingProgress
from mmf_bridge.common.training import TrainingCore
from mmf_bridge.common.training_meter import TrainingMeter
from mmf_bridge.rc7.evaluation import EvaluationLoop


def patch(module: ModuleType) -> None:
    """Register the trainer under main's name and under rc7's."""
    registry.register_trainer("mmf")(MMFTrainer)
    registry.register_trainer("base_trainer")(MMFTrainer)


class MMFTrainer(TrainingCore, EvaluationLoop, BaseTrainer):
    """Trains and evaluates what MMF's configuration describes."""

    def load(self) -> None:
        self.choose_sampler_seed()
        super().load()
        if self.resumes_another_order():
            self.load_datasets()

    def _set_device(self) -> None:
        self.choose_device()
        registry.register("current_device", self.device)

    def config_based_setup(self) -> None:
        self.configure_cudnn()

    def load_datasets(self) -> None:
        self.writer.write("Loading datasets")
        self.dataset_loader.load_datasets()
        for split in ("train", "val", "test"):
            for kind in ("dataset", "loader"):
                setattr(self, f"{split}_{kind}", getattr(self.dataset_loader, f"{split}_{kind}"))
        self.measure_run(len(self.train_loader))

    def load_extras(self) -> None:
        training = self.training_config = self.config.training
        self.writer.write(f"Torch version is: {torch.__version__}")
        self.precision = Precision(training, self.device)
        self.scaler = self.precision.scaler
        self.checkpoint = Checkpoint(self)
        self.meter = TrainingMeter()
        self.log_interval = training.log_interval
        self.evaluation_interval = training.evaluation_interval
        self.checkpoint_interval = training.checkpoint_interval
        self.max_updates = self.run_length.max_updates
        self.not_debug = training.logger_level != "debug"
        stop = training.early_stop
        self.early_stopping = EarlyStopping(
            self.model,
            self.checkpoint,
            stop.criteria,
            patience=stop.patience,
            minimize=stop.minimize,
            should_stop=stop.enabled,
        )
        self.current_epoch = self.current_iteration = self.num_updates = 0
        # Before loading: building a scheduler sets the learning rates of update 0.
        self.lr_scheduler = None
        if training.lr_scheduler is True:
            self.lr_scheduler = build_scheduler(self.optimizer, self.config)
        self.checkpoint.load_state_dict()
        self.tb_writer = None
        if training.tensorboard and is_master():
            log_dir = get_mmf_env(key="tensorboard_logdir") or self.writer.log_dir
            self.tb_writer = TensorboardLogger(log_dir, self.current_iteration)

    def train(self) -> None:
        self.writer.write("===== Model =====")
        self.writer.write(self.model)
        print_model_parameters(self.model)
        if "train" not in self.run_type:
            self.inference()
            return
        if len(self.train_loader) == 0:
            raise ValueError(f"No dataset of {self.config.datasets} has a train split")
        by_size = self.training_config.dataset_size_proportional_sampling
        if (
            self.run_length.update_frequency > 1
            and self.train_loader.num_datasets > 1
            and not by_size
        ):
            raise ValueError(
                "training.update_frequency above 1 needs training."
                "dataset_size_proportional_sampling=true: without it, nobody knows beforehand how "
                "many batches an epoch of several datasets has"
            )

        self.model.train()
        self.train_timer, self.snapshot_timer = Timer(), Timer()
        torch.autograd.set_detect_anomaly(bool(self.training_config.detect_anomaly))
        self.writer.write("Starting training...")
        self.progress = TrainingProgress(self.max_updates, self.num_updates, is_master())
        self._log_clock = (time.perf_counter(), self.num_updates)

        self.run_epochs()
        self.progress.close()
        self.finalize()

    def _train_epoch(self) -> bool:
        """Train the rest of the current epoch; say whether to stop early."""
        run, position = self.run_length, self.batches_done or 0
        for batch in self.rest_of_epoch():
            self.profile("Batch load time")
            if self.pending == 0:
                self.optimizer.zero_grad(set_to_none=True)
                self._update_loss = 0.0
            divisor = run.divisor(position)
            position += 1
            self.pending += 1
            self.current_iteration += 1
            finishes = run.finishes(position)
            report = self._train_batch(batch, divisor, synchronize_gradients=finishes)
            if not finishes:
                continue
            self.batches_done = position
            self._finish_update()
            if self._logistics(report) or self.num_updates >= self.max_updates:
                return True
        return False

    def after_replayed_batch(self) -> None:
        self.train_loader.change_dataloader()

    def _train_batch(self, batch: Any, divisor: int, synchronize_gradients: bool) -> Report:
        waits = self.distributed and not synchronize_gradients and hasattr(self.model, "no_sync")
        with self.model.no_sync() if waits else nullcontext():
            report = self._forward_pass(batch)
            loss = self._extract_loss(report) / divisor
            self.scaler.scale(loss).backward()
        self._update_loss = self._update_loss + loss.detach()
        self.meter.add(report)
        return report

    def on_device(self, batch: Any) -> Any:
        return self.dataset_loader.prepare_batch(batch)

    def _forward_pass(self, batch: Any, model: torch.nn.Module | None = None) -> Report:
        prepared = self.on_device(batch)
        if model is None:
            self.run_report.batch_begins(prepared)
        with self.precision.autocast():
            output = (model or self.model)(prepared)
        return Report(prepared, output)

    def _extract_loss(self, report: Report) -> torch.Tensor:
        losses = report.losses
        if not losses:
            raise ValueError(
                f"The model gave no loss: name one in model_config.{self.config.model}.losses, and "
                f"check that the train split of {report.dataset_name} has targets"
            )
        return sum(loss.mean() for loss in losses.values())

    def _finish_update(self) -> None:
        self.prepare_step(self.tb_writer, self.checkpoint.ckpt_foldername)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.lr_scheduler is not None:
            self.lr_scheduler.step()
        self.pending = 0
        self.num_updates += 1
        self.run_report.update_ended()
        self.progress.update()
        self.profile("Update time")

    def _logistics(self, report: Report) -> bool:
        """Log, save and validate where their intervals say so; say whether to stop early."""
        registry.register("current_iteration", self.current_iteration)
        registry.register("num_updates", self.num_updates)
        if self.num_updates % self.log_interval == 0:
            self._log_training(report)
        self.end_if_interrupted()
        stop = self._try_full_validation()
        # An evaluation saves by itself. Not before it: a run that is killed while it evaluates
        # would resume after an evaluation that never took place.
        due = self.num_updates % self.checkpoint_interval == 0
        if due and self.last_saved != self.num_updates:
            self.writer.write("Checkpoint time. Saving a checkpoint.")
            self.checkpoint.save(self.num_updates, self.current_iteration)
        return stop

    def _log_training(self, report: Report) -> None:
        if self.training_config.evaluate_metrics:
            report.metrics = self.metrics(report, report)
        means = self.meter.finish_line(report.metrics if "metrics" in report else {})
        if not is_master():
            return
        now, last = time.perf_counter(), self._log_clock
        rate = (self.num_updates - last[1]) / (now - last[0])
        self._log_clock = (now, self.num_updates)
        left = (self.max_updates - self.num_updates) / rate if rate else math.inf
        self.progress.show(loss=means[f"{report.dataset_type}/total_loss"])
        lr = self.optimizer.param_groups[0]["lr"]
        extra = {
            "epoch": self.current_epoch,
            "num_updates": self.num_updates,
            "iterations": self.current_iteration,
            "max_updates": self.max_updates,
            "lr": f"{lr:.3g}",
            "ups": f"{rate:.2f}",
            "time": self.train_timer.get_time_since_start(),
            "time_since_start": self.total_timer.get_time_since_start(),
            "eta": self.train_timer.get_time_hhmmss(gap=left * 1000),
        }
        if self.device.type == "cuda":
            extra["max mem"] = torch.cuda.max_memory_allocated() // 2**20
        if self.training_config.experiment_name:
            extra["experiment"] = self.training_config.experiment_name
        self.train_timer.reset()
        if self.tb_writer is not None:
            self.tb_writer.add_scalars({"train/lr": lr, "train/ups": rate}, self.num_updates)
        self._summarize_report(self.meter, extra=extra)

    def _validate(self) -> bool:
        return self._try_full_validation(force=True)

    def _try_full_validation(self, force: bool = False) -> bool:
        due = self.num_updates % self.evaluation_interval == 0 or force
        if not due or not self.val_loader.num_datasets:
            return False
        self.snapshot_timer.reset()
        self.writer.write("Evaluation time. Running on full validation set...")
        _, meter = self.interruptible(self.evaluate, self.val_loader)
        self.last_evaluated = self.num_updates
        # Saves a checkpoint, and the best one where this is it.
        stop = self.early_stopping(self.num_updates, self.current_iteration, meter)
        extra = {
            "num_updates": self.num_updates,
            "epoch": self.current_epoch,
            "iterations": self.current_iteration,
            "max_updates": self.max_updates,
            "val_time": self.snapshot_timer.get_time_since_start(),
            **self.early_stopping.get_info(),
        }
        if is_master():
            shown = meter.meters.get(self.early_stopping.early_stop_criteria)
            self.progress.show(val=float(shown.global_avg))
        self._summarize_report(meter, extra=extra)
        if stop:
            self.writer.write("Early stopping activated")
        self.train_timer.reset()
        self._log_clock = (time.perf_counter(), self.num_updates)
        return stop

    def finalize(self) -> None:
        if self.last_evaluated != self.num_updates:
            self._validate()
        if self.last_saved != self.num_updates:
            self.checkpoint.save(self.num_updates, self.current_iteration)
        self.training_ended()
        if self.early_stopping.best_monitored_update > 0:
            self.checkpoint.restore()
        self.checkpoint.finalize()
        synchronize()
        self.inference()
        self.writer.write(f"Finished run in {self.total_timer.get_time_since_start()}")

    def _summarize_report(
        self, meter: Meter, should_print: bool = True, extra: dict[str, Any] | None = None
    ) -> None:
        if not is_master():
            return
        if self.tb_writer is not None:
            self.tb_writer.add_scalars(meter.get_scalar_dict(), self.num_updates)
        if should_print:
            progress = {"progress": f"{self.num_updates}/{self.max_updates}"}
            self.writer.log_progress({**progress, **meter.get_log_dict(), **(extra or {})})
