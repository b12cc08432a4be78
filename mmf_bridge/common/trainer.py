"""The trainer of both lines: MMF main's ``mmf`` trainer, as one loop over the parts of either.

A resume continues an interrupted run bit for bit. Imported where MMF is there.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import cached_property
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
import torch
from mmf.common.registry import registry
from mmf.common.report import Report
from mmf.utils.general import print_model_parameters
from mmf.utils.timer import Timer
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import IterableDataset

from mmf_bridge.common.allocator import keep_freed_memory
from mmf_bridge.common.checkpoint_files import (
    listed,
    not_finite,
    pack_numpy_state,
    rng_state,
    set_rng_state,
    unpack_numpy_state,
)
from mmf_bridge.common.clipping import clip_gradients, largest_norm
from mmf_bridge.common.compiling import check_compiler, compile_model, compile_options
from mmf_bridge.common.console import is_watched, say
from mmf_bridge.common.device_batches import on_device
from mmf_bridge.common.distributed import (
    any_process,
    broadcast_object,
    get_rank,
    get_world_size,
    synchronize,
    unwrap,
)
from mmf_bridge.common.evaluator import Evaluator
from mmf_bridge.common.interruption import EvaluationCut, Interrupted, interruption
from mmf_bridge.common.loading import has_workers
from mmf_bridge.common.outline import outline
from mmf_bridge.common.precision import Precision
from mmf_bridge.common.progress import Pace, TrainingBar, clock, short, speed
from mmf_bridge.common.run_length import RunLength, set_intervals
from mmf_bridge.common.run_report import RunReport
from mmf_bridge.common.scores import score_line
from mmf_bridge.common.summary import summary
from mmf_bridge.common.training_meter import TrainingMeter
from mmf_bridge.protocols import PreparesFromData
from mmf_bridge.tracking.pictures import track_pictures
from mmf_bridge.tracking.trackers import Trackers, tracked_summary


class Trainer(Evaluator):
    """Mixed into a line's trainer, which has ``config``, ``training_config``, ``run_type``,
    ``model``, ``optimizer``, ``metrics``, ``dataset_loader``, ``train_loader``, ``val_loader``,
    ``test_loader``, ``checkpoint`` (may be None), ``early_stopping``, ``lr_scheduler``,
    ``tb_writer``, ``writer`` and ``profile(text)``, and builds them in ``load()``. Its own are
    :meth:`rebuild_train_loader`, :meth:`summarize`, :meth:`tell` and :meth:`combined`.
    """

    run_length: RunLength
    run_report: RunReport
    current_epoch = current_iteration = num_updates = 0
    # Micro-batches whose gradients wait for their update. Checkpoints are taken right after
    # updates, so none ever waits in one.
    pending = 0
    # What the configuration has in place of intervals that follow the run's length.
    written_intervals: Mapping[str, Any] = MappingProxyType({})
    # The joint norm of the last update's gradients before clipping; None where nothing is clipped.
    gradient_norm: torch.Tensor | None = None

    # Position and order, which a checkpoint restores (see checkpoint.py).
    batches_done: int | None = 0
    resumed_seed: int | None = None
    resumed_rng: dict[str, Any] | None = None
    epoch_rng: Any = None

    # The updates of the last checkpoint in this folder and of the last evaluation, if there are.
    last_saved: int | None = None
    last_evaluated: int | None = None
    # Tensors of the model that are meant to hold infinity, such as a mask.
    not_finite_at_start: frozenset[str] = frozenset()
    # What torch.compile is called with; None where nothing is compiled.
    compile_options: dict[str, Any] | None = None
    # The update that this run went on from, and the figure of its last evaluation that counts.
    first_update = 0
    validated: float | None = None
    # Whether the run ends with the current update, as all processes have agreed.
    ends = False

    # Made on rank 0, once everything is loaded.
    trackers = Trackers()

    @property
    def tensorboard_step(self) -> int:
        """Where TensorBoard's curves stand: in updates, where the line does not say otherwise."""
        return self.num_updates

    def track(self, figures: Mapping[str, Any]) -> None:
        """Hand figures of this update to TensorBoard and the other trackers."""
        if self.tb_writer is not None:
            self.tb_writer.add_scalars(figures, self.tensorboard_step)
        self.trackers.scalars(figures, self.num_updates)

    def tell(self, event: str, **kwargs: Any) -> None:
        """Call the method ``event`` of the callbacks, where the line has any."""

    def combined(self, so_far: Report | None, report: Report) -> Report:
        """The report of an update's batches; the last one's where MMF cannot add them up."""
        return report

    # Made when they are asked for: a trainer of somebody's own may build its parts without
    # `load`, or leave out some of the methods that it calls.
    @cached_property
    def meter(self) -> TrainingMeter:
        """What the training's losses are added up in."""
        return TrainingMeter()

    @cached_property
    def precision(self) -> Precision:
        """Autocast and loss scaling of ``training.precision``."""
        return Precision(self.config.training, self.device)

    @cached_property
    def total_timer(self) -> Timer:
        """Since when the run lasts."""
        return Timer()

    def load(self) -> None:
        """Build everything, and continue what ``checkpoint`` names."""
        self.total_timer = Timer()  # of a run that may have waited since the trainer was made
        seed = self.config.training.seed
        seed = torch.initial_seed() if seed is None else seed
        registry.register("sampler_seed", broadcast_object(int(seed) % 2**31))
        registry.register("data_parallel", False)
        registry.register("distributed", False)
        super().load()
        # `training.seed: -1` draws another seed in each run, but an epoch must keep its order.
        if self.resumed_seed not in (None, registry.get("sampler_seed")):
            registry.register("sampler_seed", self.resumed_seed)
            self.rebuild_train_loader()

    def configure_device(self) -> None:
        """Set ``device``, ``local_rank`` and ``distributed``."""
        self.local_rank = self.config.device_id
        self.distributed = get_world_size() > 1
        on_gpu = torch.cuda.is_available() and self.config.training.device != "cpu"
        self.device = torch.device("cuda", self.local_rank) if on_gpu else torch.device("cpu")
        if not on_gpu:
            keep_freed_memory()
        registry.register("global_device", self.config.distributed.rank or 0)
        registry.register("current_device", self.device)
        self.compile_options = compile_options(self.config.training.get("compile", False))
        if self.compile_options is not None:
            check_compiler(self.compile_options, self.device)

    def configure_seed(self) -> None:
        """Deterministic where the user gave a seed, unless ``cudnn_benchmark`` asks for speed."""
        benchmark = bool(self.config.training.cudnn_benchmark)
        torch.backends.cudnn.benchmark = benchmark
        given = bool(registry.get("seed_given", no_warning=True))
        torch.backends.cudnn.deterministic = given and not benchmark

    def load_fp16_scaler(self) -> None:
        self.scaler = self.precision.scaler

    def parallelize_model(self) -> None:
        """Compile the model where the configuration says so, and wrap it for several processes, on
        CPUs as well.

        A process has one GPU: DataParallel, and DDP's own scattering by ``device_ids``, would tear
        apart batches whose fields differ in length.
        """
        if self.compile_options is not None:
            compile_model(self.model, self.compile_options)
            self.announce(
                "The model is compiled (training.compile): its first batches, in training and in "
                "evaluation, take longer"
            )
        if not self.distributed:
            return
        registry.register("distributed", True)
        if any(parameter.requires_grad for parameter in self.model.parameters()):
            unused = bool(self.config.training.find_unused_parameters)
            self.model = DistributedDataParallel(
                self.model.to(self.device), find_unused_parameters=unused
            )

    def measure_run(self) -> None:
        """Set ``run_length``, for the scheduler that will be built too, and ``auto`` intervals."""
        training, loader = self.config.training, self.train_loader
        stream = any(isinstance(dataset, IterableDataset) for dataset in loader.get_datasets())
        batches = None if stream else len(loader)
        if "train" in self.run_type:
            self.run_length = RunLength.of(training, batches)
            self.written_intervals = set_intervals(training, self.run_length)
            if self.written_intervals and get_rank() == 0:
                chosen = (f"training.{key} {training[key]}" for key in self.written_intervals)
                self.writer.write(f"In updates: {', '.join(chosen)}")
        else:
            self.run_length = RunLength(batches, training.max_updates or 0)
        self.max_updates = self.run_length.max_updates
        registry.register("run_length", self.run_length)

    def introduce(self, predict: bool) -> None:
        """Say on the console, and in the log, what is going to run."""
        if not hasattr(self, "run_length"):  # with data sets that it loads in its own way
            self.measure_run()
        for line in outline(self, predict):
            self.announce(line)

    def sum_up(self, predict: bool) -> None:
        """Say on the console, and in the log, what has come of the run."""
        report = self.run_report.written if hasattr(self, "run_report") else None
        for line in summary(self, predict, self.options(), report):
            self.announce(line)
        self.trackers.summary(tracked_summary(report, self.config.env.save_dir))

    def options(self) -> list[tuple[str, str]]:
        """The options that the run was started with."""
        return registry.get("options", [], no_warning=True)

    def train(self) -> None:
        """Train if ``run_type`` says so, then evaluate or predict what else it names."""
        self.writer.write("===== Model =====")
        self.writer.write(self.model)
        print_model_parameters(self.model)
        if "train" in self.run_type:
            self.tell("on_train_start")
            self.training_loop()
            self.tell("on_train_end")
        self.inference()
        self.finalize()

    def finalize(self) -> None:
        for loader in (self.train_loader, self.val_loader, self.test_loader):
            loader.stop_workers()
        self.writer.write(f"Finished run in {self.total_timer.get_time_since_start()}")

    def training_loop(self) -> None:
        """Train; afterwards the model has the weights of its best evaluation, if it has had one.

        Raises:
            ValueError: no dataset has a train split.
            RuntimeError: the loss or the gradients are not finite.
            Interrupted: a signal has ended the run.
        """
        if not hasattr(self, "run_length"):  # of a trainer that nobody has introduced
            self.measure_run()
        if not self.train_loader.num_datasets:
            raise ValueError(f"No dataset of {self.config.datasets} has a train split")
        torch.autograd.set_detect_anomaly(bool(self.config.training.detect_anomaly))
        self.writer.write("Starting training...")
        self.model.train()
        self.progress = TrainingBar(self.max_updates, self.num_updates, get_rank() == 0)
        self.pace = Pace()
        if self.tb_writer is not None:
            # What an interrupted run has logged after its last checkpoint is logged again.
            self.tb_writer.begins_at = self.tensorboard_step + 1
        self._begin_log_line()
        self._run_epochs()
        if self.last_evaluated != self.num_updates:
            self._validate()
        if self.last_saved != self.num_updates:
            self._save()
        self.progress.hide()
        self._training_ended()
        if self.checkpoint is not None:
            say("restoring the best weights, writing the final files ...")
            self.checkpoint.restore()
            self.checkpoint.finalize()
            if get_rank() == 0:
                self.run_report.ended(self.config.env.save_dir)
        synchronize()

    def _run_epochs(self) -> None:
        """Train until the last update or an early stop, from where the run stands."""
        self.early_stopping.check_criterion(self)
        self.max_norm = largest_norm(self.config.training)
        self._prepare_model()
        model = unwrap(self.model)
        self._refuse_weights_that_are_not_finite(model)
        overwrites = self.config.env.overwrite and self.checkpoint is not None
        if overwrites and self.last_saved is None and get_rank() == 0:
            self.checkpoint.remove_files()
        self.run_report = RunReport(model, torch.device(self.device), self.precision.autocast)
        if self.num_updates:
            self.run_report.go_on(self.config.env.save_dir)
        stop = self._make_up_for_evaluation()
        used = self.run_length.used_batches
        if self.batches_done is None or (used is not None and self.batches_done >= used):
            self.batches_done = 0
            self.current_epoch += 1
        self.current_epoch = max(self.current_epoch, 1)
        before = self.first_update = self.num_updates
        stop = stop or before >= self.max_updates
        while not stop:
            stop = self._train_epoch()
            if not stop:
                self.current_epoch += 1
                self.batches_done = 0
        if self.num_updates > before and get_rank() == 0:
            self.writer.write(self.run_report.write(self.config.env.save_dir))

    def _refuse_weights_that_are_not_finite(self, model: torch.nn.Module) -> None:
        """Remember which tensors are meant to hold infinity; what is trained is not."""
        parameters = dict(model.named_parameters())
        tensors = (*parameters.items(), *model.named_buffers())
        self.not_finite_at_start = frozenset(not_finite(dict(tensors)))
        trainable = {name for name, weight in parameters.items() if weight.requires_grad}
        bad = sorted(trainable & self.not_finite_at_start)
        if bad:
            raise RuntimeError(
                f"{listed(bad, 1)}: the weights hold NaN or infinity before the first update. They "
                "are not initialised, or the file that they come from is damaged"
            )

    def _train_epoch(self) -> bool:
        """Train the rest of the current epoch; say whether to stop."""
        run, position = self.run_length, self.batches_done or 0
        report = None
        for batch in self.run_report.timed(self._batches_on_device()):
            if self.pending == 0:
                self.tell("on_update_start")
                self.optimizer.zero_grad(set_to_none=True)
                self._update_loss, report = 0.0, None
            divisor = run.divisor(position)
            position += 1
            self.pending += 1
            self.current_iteration += 1
            self.tell("on_batch_start")
            self.profile("Batch load time")
            finishes = run.finishes(position)
            report = self.combined(report, self.run_training_batch(batch, divisor, finishes))
            self.tell("on_batch_end", report=report, meter=self.meter)
            if not finishes:
                continue
            self.batches_done = position
            self._finish_update()
            if self._after_update(report) or self.num_updates >= self.max_updates:
                return True
        return False

    def run_training_batch(
        self, batch: Any, divisor: int, synchronize_gradients: bool = True
    ) -> Report:
        """Add the gradients of a batch, whose losses are divided by ``divisor``."""
        waits = self.distributed and not synchronize_gradients and hasattr(self.model, "no_sync")
        prepared = self.on_device(batch)
        self.run_report.batch_begins(prepared)
        with self.model.no_sync() if waits else nullcontext():
            report = self.forward_pass(prepared, self.model)
            if not report.losses:
                raise ValueError(
                    f"The model gave no loss: name one in model_config.{self.config.model}.losses, "
                    f"and check that the train split of {report.dataset_name} has targets"
                )
            self.meter.add(report)
            report.losses = {k: loss.mean() / divisor for k, loss in report.losses.items()}
            loss = sum(report.losses.values())
            self.scaler.scale(loss).backward()
        self._update_loss = self._update_loss + loss.detach()
        return report

    def _finish_update(self) -> None:
        self._prepare_step()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.lr_scheduler is not None:
            self.lr_scheduler.step()
        self.pending = 0
        self.num_updates += 1
        self.run_report.update_ended()
        self.pace.update_ended()
        self.progress.update(self._bar_line)
        self.profile("Update time")

    def _after_update(self, report: Report) -> bool:
        """Log, save and validate where their intervals say so; say whether to stop early."""
        training = self.config.training
        self._let_signals_wait()
        registry.register("current_iteration", self.current_iteration)
        registry.register("num_updates", self.num_updates)
        evaluates = self.num_updates % training.evaluation_interval == 0
        # An evaluation saves by itself.
        saved_later = evaluates and self.val_loader.num_datasets
        if self.num_updates % training.checkpoint_interval == 0 and not saved_later:
            self.writer.write("Checkpoint time. Saving a checkpoint.")
            self._save()
        should_log = self.num_updates % training.log_interval == 0
        if should_log:
            self._log_training(report)
        elif self.num_updates == self.first_update + 1 and get_rank() == 0 and not is_watched():
            say(self._progress_line(float(self._update_loss)))
        self.tell("on_update_end", report=report, meter=self.meter, should_log=should_log)
        if self.ends or (get_world_size() < 2 and interruption.asked is not None):
            self._save_and_end()
        return evaluates and self._validate()

    def _save(self) -> None:
        if self.checkpoint is not None:
            self.checkpoint.save(self.num_updates, self.current_iteration)

    def _begin_log_line(self) -> None:
        self.pace.go_on()
        self._line_timer, self._line_began = Timer(), (time.perf_counter(), self.num_updates)

    def _log_training(self, report: Report) -> None:
        training = self.config.training
        if training.evaluate_metrics:
            report.metrics = self.metrics(report, report)
        means = self.meter.finish_line(report.metrics if "metrics" in report else {})
        if get_rank() != 0:
            return
        self.progress.draw(self._bar_line())
        say(self._progress_line(means[f"{report.dataset_type}/total_loss"]))
        began, updates = self._line_began
        rate = (self.num_updates - updates) / (time.perf_counter() - began)
        left = (self.max_updates - self.num_updates) / rate if rate else math.inf
        lr = self.optimizer.param_groups[0]["lr"]
        extra = {
            **self._position(),
            "lr": f"{lr:.3g}",
            "ups": f"{rate:.2f}",
            "time": self._line_timer.get_time_since_start(),
            "time_since_start": self.total_timer.get_time_since_start(),
            "eta": self._line_timer.get_time_hhmmss(gap=left * 1000),
        }
        if torch.device(self.device).type == "cuda":
            extra["max mem"] = torch.cuda.max_memory_allocated() // 2**20
        if training.experiment_name:
            extra["experiment"] = training.experiment_name
        norm = {} if self.gradient_norm is None else {"grad_norm": self.gradient_norm}
        self.track({"train/lr": lr, "train/ups": rate, **norm})
        self.summarize(self.meter, extra)
        self._begin_log_line()

    def _progress_line(self, loss: float) -> str:
        """``550/900 epoch 5 loss 0.043 lr 4.2e-4 15 it/s eta 0:24``."""
        lr = self.optimizer.param_groups[0]["lr"]
        line = (
            f"{self.num_updates:,}/{self.max_updates:,} epoch {self.current_epoch} "
            f"loss {short(loss)} lr {short(lr)}"
        )
        rate = self.pace.rate
        if rate is None:
            return line
        return f"{line} {speed(rate)} eta {clock((self.max_updates - self.num_updates) / rate)}"

    def _bar_line(self) -> str:
        line = self._progress_line(float(self._update_loss))
        return line if self.validated is None else f"{line} val {short(self.validated)}"

    def _position(self) -> dict[str, Any]:
        return {
            "epoch": self.current_epoch,
            "num_updates": self.num_updates,
            "iterations": self.current_iteration,
            "max_updates": self.max_updates,
        }

    def _validate(self) -> bool:
        """Evaluate the val split, if there is one, and save; say whether to stop early."""
        if not self.val_loader.num_datasets:
            return False
        self.tell("on_validation_start")
        timer = Timer()
        self.writer.write("Evaluation time. Running on full validation set...")
        self.progress.hide()
        before = rng_state()
        try:
            report, meter = self.evaluation_loop("val")
        except EvaluationCut:
            set_rng_state(before)
            self._save_and_end()
        self.last_evaluated = self.num_updates
        # Saves a checkpoint, and the best one where this is it.
        stop = self.early_stopping(self.num_updates, self.current_iteration, meter)
        self.tell("on_validation_end", report=report, meter=meter)
        spent = {"val_time": timer.get_time_since_start()}
        self.summarize(meter, {**self._position(), **spent, **self.early_stopping.get_info()})
        self._note_validation(meter)
        if stop:
            self.announce("Early stopping activated")
        self._begin_log_line()
        return stop is True  # MMF main's callbacks may answer anything

    def _note_validation(self, meter: Any) -> None:
        """Tell the console and the report what an evaluation has found."""
        if get_rank() != 0:
            return
        stopping = self.early_stopping
        criterion, update = stopping.early_stop_criteria, int(stopping.best_monitored_update)
        best = float(stopping.best_monitored_value), update
        figures = {name: float(value.global_avg) for name, value in meter.meters.items()}
        self.validated = figures.get(criterion)
        say(score_line("val", figures, criterion, self.metrics.metrics, best))
        self.scores |= {"criterion": criterion, "best": best[0], "best_update": update}
        if update == self.num_updates:
            self.scores["val"] = {"update": update, **figures}
        self.run_report.scores |= self.scores
        self.run_report.write(self.config.env.save_dir, predicts=False)
        if self.trackers:
            track_pictures(self)

    def _make_up_for_evaluation(self) -> bool:
        """Do the evaluation in which an earlier run was interrupted; say whether to stop early."""
        if self.resumed_rng is None:
            return False
        # Also for the checkpoint that a run saves which has come to its last update already.
        set_rng_state(self.resumed_rng)
        due = self.num_updates % self.config.training.evaluation_interval == 0
        if not due or self.last_saved is None or self.last_evaluated == self.num_updates:
            return False
        stop = self._validate()
        self.resumed_rng = rng_state()
        return stop

    def _let_signals_wait(self) -> None:
        """From the first update on, before it is saved: there is something to save."""
        if self.checkpoint is None:
            return
        interruption.waits = True
        interruption.loses = (
            "the updates after the last checkpoint are lost; checkpoint.resume=true goes on from "
            f"the one in {self.checkpoint.ckpt_foldername}"
        )

    def _training_ended(self) -> None:
        """Once the last update is judged and saved: what follows can be interrupted anywhere."""
        interruption.loses = (
            "the training is complete and saved; checkpoint.resume=true does what comes after it"
        )
        interruption.waits = False
        if interruption.asked_anywhere(self.device):
            self._save_and_end()

    def _save_and_end(self) -> NoReturn:
        if self.last_saved != self.num_updates:
            self._save()
        self.progress.hide()
        self.announce(
            f"Interrupted after update {self.num_updates}, which is saved in "
            f"{self.checkpoint.ckpt_foldername}. To go on: checkpoint.resume=true"
        )
        raise Interrupted(interruption.asked or signal.SIGTERM)

    def _prepare_model(self) -> None:
        """Show the train split to a model that has ``before_training``, unless a run goes on.

        Nothing depends on how many batches it takes: they have an order of their own.
        """
        model = unwrap(self.model)
        if self.num_updates or not isinstance(model, PreparesFromData):
            return
        before = rng_state()
        self.dataset_loader.seed_sampler("train", 0)  # training begins with epoch 1
        model.before_training(self.on_device(batch) for batch in self.train_loader)
        set_rng_state(before)

    def _batches_on_device(self) -> Iterator[Any]:
        """The rest of the epoch on the device, and the next batch on its way there.

        Not before its time where this process draws random numbers for it: those of datasets that
        have no workers, and of the mixture of several datasets.
        """
        loaders = getattr(self.train_loader, "loaders", ())
        loaders = list(loaders.values() if isinstance(loaders, Mapping) else loaders)
        ahead = len(loaders) == 1 and has_workers(loaders[0])
        device = torch.device(self.device)
        return on_device(self._rest_of_epoch(), self.on_device, device, ahead)

    def _rest_of_epoch(self) -> Iterator[Any]:
        """The batches of the current epoch from ``batches_done`` on.

        The mixture of several datasets is drawn as it goes, so there the batches before are drawn
        once more.
        """
        if self.run_length.leftover_batches != "carry":
            self.pending = 0  # of a stream, whose end nobody foresaw
        registry.register("current_epoch", self.current_epoch)
        self.dataset_loader.seed_sampler("train", self.current_epoch)
        done = self.batches_done or 0
        replay = 0 if self.train_loader.start_at(done) else done
        if not replay:
            self._restore_random_numbers()  # which the beginning of an epoch may draw as well
        if replay and self.epoch_rng is not None:
            np.random.set_state(unpack_numpy_state(self.epoch_rng))
        elif self.train_loader.num_datasets > 1:
            self.epoch_rng = pack_numpy_state(np.random.get_state())
        batches = iter(self.train_loader)
        for _ in range(replay):
            next(batches, None)
        self._restore_random_numbers()  # before the next batch: datasets draw some, too
        drops = self.run_length.leftover_batches == "drop"
        limit = self.run_length.used_batches if drops else None
        while (limit is None or done < limit) and (batch := next(batches, None)) is not None:
            done += 1
            yield batch

    def _restore_random_numbers(self) -> None:
        if self.resumed_rng is not None:
            set_rng_state(self.resumed_rng)
            self.resumed_rng = None

    def _prepare_step(self) -> None:
        """Clip the gradients, and refuse a step that would ruin the weights.

        One look at the device per update, for loss and norm together. With loss scaling a norm
        may be infinite: the scaler then skips the step itself.
        """
        self.ends = get_world_size() > 1 and interruption.asked_anywhere(self.device)
        norm = None
        if self.max_norm is not None:
            self.scaler.unscale_(self.optimizer)
            norm = clip_gradients(self.model, self.optimizer, self.max_norm)
        self.gradient_norm = norm
        if not self.config.training.exit_on_nan_losses:
            return
        bad = bad_loss = torch.isnan(self._update_loss)
        if norm is not None and not self.scaler.is_enabled():
            bad = bad | ~torch.isfinite(norm)
        if any_process(bad):
            what = "loss is NaN" if any_process(bad_loss) else "norm of the gradients is not finite"
            raise RuntimeError(
                f"The {what} at update {self.num_updates + 1}: training stopped. The last "
                f"checkpoint is in {self.config.env.save_dir}; try a lower learning rate, or "
                "training.detect_anomaly=true to find where it comes from"
            )
