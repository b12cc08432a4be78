"""The parts of rc7 that the shared trainer stands on."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from mmf.common.registry import registry
from mmf.trainers.base_trainer import BaseTrainer
from mmf.utils.build import build_scheduler
from mmf.utils.checkpoint import Checkpoint
from mmf.utils.configuration import get_mmf_env
from mmf.utils.early_stopping import EarlyStopping
from mmf.utils.logger import TensorboardLogger

from mmf_bridge.common.distributed import get_rank
from mmf_bridge.common.trainer import Trainer


def patch(module: ModuleType) -> None:
    """Register the trainer under main's name and under rc7's."""
    registry.register_trainer("mmf")(MMFTrainer)
    registry.register_trainer("base_trainer")(MMFTrainer)


class MMFTrainer(Trainer, BaseTrainer):
    """Trains and evaluates what MMF's configuration describes."""

    tb_writer: TensorboardLogger | None = None

    # rc7's names.
    _set_device = Trainer.configure_device
    config_based_setup = Trainer.configure_seed
    predict = Trainer.prediction_loop

    def load_datasets(self) -> None:
        super().load_datasets()
        training = self.config.training
        by_size = training.dataset_size_proportional_sampling or self.train_loader.num_datasets < 2
        if "train" in self.run_type and training.update_frequency > 1 and not by_size:
            raise ValueError(
                "training.update_frequency above 1 needs training."
                "dataset_size_proportional_sampling=true: without it, nobody knows beforehand how "
                "many batches an epoch of several datasets has"
            )
        self.measure_run()

    def rebuild_train_loader(self) -> None:
        self.train_loader.build_dataloaders()

    def load_extras(self) -> None:
        training = self.training_config = self.config.training
        self.writer.write(f"Torch version is: {torch.__version__}")
        self.not_debug = training.logger_level != "debug"
        self.load_fp16_scaler()
        self.checkpoint = Checkpoint(self)
        stop = training.early_stop
        self.early_stopping = EarlyStopping(
            self.model, self.checkpoint, stop.criteria, stop.patience, stop.minimize, stop.enabled
        )
        # Before loading: building a scheduler sets the learning rates of update 0.
        self.lr_scheduler = None
        if training.lr_scheduler is True:
            self.lr_scheduler = build_scheduler(self.optimizer, self.config)
        self.checkpoint.load_state_dict()
        if training.tensorboard and get_rank() == 0:
            log_dir = get_mmf_env(key="tensorboard_logdir") or self.writer.log_dir
            self.tb_writer = TensorboardLogger(log_dir, self.current_iteration)

    def evaluate(
        self, loader: Any, use_tqdm: bool = False, single_batch: bool = False
    ) -> tuple[Any, Any]:
        """rc7's name: see :meth:`evaluation_loop`."""
        return self.evaluation_loop(loader.dataset_type, use_tqdm, single_batch)

    def summarize(self, meter: Any, extra: Mapping[str, Any]) -> None:
        if get_rank() != 0:
            return
        self.track(meter.get_scalar_dict())
        progress = {"progress": f"{self.num_updates}/{self.max_updates}"}
        self.writer.log_progress({**progress, **meter.get_log_dict(), **extra})
