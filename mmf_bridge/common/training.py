"""What the trainers of both MMF lines share: device, order of the data, epochs, the last look.

Imported by the trainers alone, when MMF is there: it and `training_meter.py` need it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
import torch
from mmf.common.registry import registry

from mmf_bridge.common.checkpoint_files import (
    not_finite,
    pack_numpy_state,
    rng_state,
    set_rng_state,
    unpack_numpy_state,
)
from mmf_bridge.common.clipping import GradientClipping
from mmf_bridge.common.distributed import (
    any_process,
    broadcast_buffers,
    broadcast_object,
    get_rank,
    get_world_size,
    local_device,
    unwrap,
    wrap_model,
)
from mmf_bridge.common.interruption import EvaluationCut, interruption
from mmf_bridge.common.intervals import described, set_intervals
from mmf_bridge.common.run_length import RunLength
from mmf_bridge.common.run_report import RunReport


class TrainingCore:
    """Mixed into a trainer that has ``config``, ``model``, ``optimizer``, ``scaler``,
    ``dataset_loader``, ``train_loader``, ``checkpoint``, ``progress``, the counters of MMF's
    trainers, ``_train_epoch()``, ``_validate()``, ``on_device(batch)`` and
    ``_inference_run(dataset_type)``.
    """

    run_length: RunLength
    run_report: RunReport
    # Micro-batches whose gradients wait for their update. Checkpoints are taken right after
    # updates, so none ever waits in one.
    pending: int = 0
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
    # Whether the run ends with the current update, as all processes have agreed.
    ends: bool = False

    def choose_sampler_seed(self) -> None:
        """Agree with the other processes on what the order of samples is drawn from."""
        seed = self.config.training.seed
        seed = torch.initial_seed() if seed is None else seed
        registry.register("sampler_seed", broadcast_object(int(seed) % 2**31))

    def resumes_another_order(self) -> bool:
        """Whether the loaders must be built anew, with the seed of the interrupted run.

        ``training.seed: -1`` draws another seed in each run, but an epoch must keep its order.
        """
        if self.resumed_seed in (None, registry.get("sampler_seed")):
            return False
        registry.register("sampler_seed", self.resumed_seed)
        return True

    def choose_device(self) -> None:
        """Set ``device``, ``local_rank`` and ``distributed``."""
        self.local_rank = self.config.device_id
        self.distributed = get_world_size() > 1
        self.device = local_device(self.local_rank)
        if self.config.training.device == "cpu":
            self.device = torch.device("cpu")
        registry.register("global_device", self.config.distributed.rank or 0)

    def configure_cudnn(self) -> None:
        """Deterministic where the user gave a seed, unless ``cudnn_benchmark`` asks for speed."""
        benchmark = bool(self.config.training.cudnn_benchmark)
        torch.backends.cudnn.benchmark = benchmark
        given = bool(registry.get("seed_given", no_warning=True))
        torch.backends.cudnn.deterministic = given and not benchmark

    def parallelize_model(self) -> None:
        """Wrap the model for several processes.

        A process has one GPU: MMF starts one for each unless ``distributed.world_size`` says 1, and
        DataParallel, its other way, would tear apart batches whose fields differ in length.
        """
        if self.distributed:
            registry.register("distributed", True)
            unused = self.config.training.find_unused_parameters
            self.model = wrap_model(self.model, self.device, unused)

    def measure_run(self, batches_per_epoch: int | None) -> None:
        """Set ``run_length``, for the scheduler that will be built too, and ``auto`` intervals."""
        training = self.config.training
        if "train" in self.run_type:
            self.run_length = RunLength.of(training, batches_per_epoch)
        else:
            self.run_length = RunLength(batches_per_epoch, training.max_updates or 0)
        registry.register("run_length", self.run_length)
        if "train" in self.run_type:
            written = set_intervals(training, self.run_length)
            if written:  # a resumed run may load its data twice
                self.written_intervals = written
                if get_rank() == 0:
                    self.writer.write(described(training, written))

    def run_epochs(self) -> None:
        """Train until the last update or an early stop, from where the run stands."""
        self.early_stopping.check_criterion(self)
        self.clipping = GradientClipping(self.config.training)
        self.prepare_model()
        model = unwrap(self.model)
        tensors = (*model.named_parameters(), *model.named_buffers())
        self.not_finite_at_start = frozenset(not_finite(dict(tensors)))
        if self.config.env.overwrite and self.last_saved is None and get_rank() == 0:
            self.checkpoint.remove_files()
        self.run_report = RunReport(model, self.device, self.precision.autocast)
        stop = self._make_up_for_evaluation()
        used = self.run_length.used_batches
        if self.batches_done is None or (used is not None and self.batches_done >= used):
            self.batches_done = 0
            self.current_epoch += 1
        self.current_epoch = max(self.current_epoch, 1)
        before = self.num_updates
        stop = stop or before >= self.max_updates
        while not stop:
            stop = self._train_epoch() or self.num_updates >= self.max_updates
            if not stop:
                self.current_epoch += 1
                self.batches_done = 0
        if self.num_updates > before and get_rank() == 0:
            self.writer.write(self.run_report.write(self.config.env.save_dir))

    def _make_up_for_evaluation(self) -> bool:
        """Do the evaluation in which an earlier run was interrupted; say whether to stop early.

        Raises:
            Interrupted: see :meth:`end_if_interrupted`.
        """
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

    def end_if_interrupted(self) -> None:
        """After an update: save it and end the run, if a signal has asked any process to.

        Raises:
            Interrupted: it has.
        """
        interruption.waits = True  # from the first update on there is something to save
        folder = self.checkpoint.ckpt_foldername
        interruption.loses = (
            "the updates after the last checkpoint are lost; checkpoint.resume=true goes on from "
            f"the one in {folder}"
        )
        if self.ends or (get_world_size() < 2 and interruption.asked is not None):
            self._save_and_end()

    def training_ended(self) -> None:
        """Once the last update has been judged and saved: what follows can be interrupted anywhere.

        Raises:
            Interrupted: a signal has come since the last update.
        """
        interruption.loses = (
            "the training is complete and saved; checkpoint.resume=true does what comes after it"
        )
        interruption.waits = False
        if interruption.asked_anywhere(self.device):
            self._save_and_end()

    def _save_and_end(self) -> NoReturn:
        if self.last_saved != self.num_updates:
            self.checkpoint.save(self.num_updates, self.current_iteration)
        self.progress.close()
        self.writer.write(
            f"Interrupted after update {self.num_updates}, which is saved in "
            f"{self.checkpoint.ckpt_foldername}. To go on: checkpoint.resume=true"
        )
        interruption.end()

    def interruptible(self, evaluate: Callable[..., Any], *args: Any) -> Any:
        """Evaluate amid training; if that is interrupted, save what was before it and end the run.

        Raises:
            Interrupted: it was.
        """
        before = rng_state()
        try:
            return evaluate(*args)
        except EvaluationCut:
            set_rng_state(before)
            self._save_and_end()

    def until_interrupted(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches of an evaluation, whose numbers differ between processes.

        Raises:
            EvaluationCut: a signal has asked any process to end.
        """
        for batch in batches:
            yield batch
            if interruption.asked is not None:
                break
        if interruption.asked_anywhere(self.device):
            raise EvaluationCut(interruption.asked or signal.SIGTERM)

    def prepare_model(self) -> None:
        """Show the train split to a model that has ``before_training(batches)``.

        Not where a run goes on. Nothing of the training depends on how many batches it takes: they
        have an order of their own, and random numbers are put back.
        """
        model = unwrap(self.model)
        if self.num_updates or not hasattr(model, "before_training"):
            return
        before = rng_state()
        model.before_training(self._batches_before_training())
        set_rng_state(before)

    def _batches_before_training(self) -> Iterator[Any]:
        self.dataset_loader.seed_sampler("train", 0)  # training begins with epoch 1
        for batch in self.train_loader:
            yield self.on_device(batch)

    def rest_of_epoch(self) -> Iterator[Any]:
        """The batches of the current epoch from ``batches_done`` on.

        The mixture of several datasets is drawn as it goes, so there the batches before are drawn
        once more. Left-over batches that are dropped are not loaded at all.
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
            self.after_replayed_batch()
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

    def after_replayed_batch(self) -> None:
        """What follows each batch in training and draws random numbers."""

    def evaluation_model(self) -> torch.nn.Module:
        """The bare model in evaluation mode, its BatchNorm statistics equal on all processes."""
        broadcast_buffers(self.model)
        self.model.eval()
        return unwrap(self.model)

    def inference(self) -> None:
        """Evaluate or predict the splits that ``run_type`` names (``val``; ``test`` by default)."""
        if "val" in self.run_type:
            self._inference_run("val")
        if any(word in self.run_type for word in ("inference", "test", "predict")):
            self._inference_run("test")

    def prepare_step(self, writer: Any, folder: str) -> None:
        """Clip the gradients, and refuse a step that would ruin the weights.

        One look at the device per update, for loss and norm together. With loss scaling a norm
        may be infinite: the scaler then skips the step itself.

        Args:
            writer: TensorBoard's, or None; it gets ``grad_norm`` at the log interval.
            folder: where the checkpoints are, for the message.

        Raises:
            RuntimeError: the loss is NaN on one of the processes, or the norm is not finite.
        """
        self.ends = get_world_size() > 1 and interruption.asked_anywhere(self.device)
        if self.clipping.max_norm is not None:
            self.scaler.unscale_(self.optimizer)
        norm = self.gradient_norm = self.clipping(self.model, self.optimizer)
        update = self.num_updates + 1
        due = update % self.config.training.log_interval == 0
        if due and norm is not None and writer is not None:
            writer.add_scalars({"grad_norm": norm}, self.num_updates)
        if not self.config.training.exit_on_nan_losses:
            return
        bad = bad_loss = torch.isnan(self._update_loss)
        if norm is not None and not self.scaler.is_enabled():
            bad = bad | ~torch.isfinite(norm)
        if any_process(bad):
            what = "loss is NaN" if any_process(bad_loss) else "norm of the gradients is not finite"
            raise RuntimeError(
                f"The {what} at update {update}: training stopped. The last checkpoint is in "
                f"{folder}; try a lower learning rate, or training.detect_anomaly=true to find "
                "where it comes from"
            )
