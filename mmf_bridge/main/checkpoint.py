"""Patches of ``mmf.utils.checkpoint`` where main differs from rc7."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from mmf_bridge.common import checkpoint as shared
from mmf_bridge.common.distributed import get_rank
from mmf_bridge.common.replace import replace

logger = logging.getLogger("mmf.utils.checkpoint")


def patch(module: ModuleType) -> None:
    """What rc7's ``Checkpoint`` gets, with main's own features kept."""
    shared.patch(module)

    class Checkpoint(module.Checkpoint):
        __doc__ = module.Checkpoint.__doc__

        def _torch_load(self, file: str, mapped: bool = False) -> Any:
            """Read a file, or a remote one that MMF's file layer knows; Lightning's too."""
            ckpt = super()._torch_load(module.PathManager.get_local_path(file, force=True), mapped)
            if isinstance(ckpt, Mapping) and self._is_pl_trainer_checkpoint(ckpt):
                return {"model": ckpt["state_dict"]}
            if isinstance(ckpt, Mapping) and "fp16_scaler" in ckpt:  # main's name for it
                return {**ckpt, "scaler": ckpt["fp16_scaler"]}
            return ckpt

        def _say(self, message: str) -> None:
            logger.info(message)

        def _early_stopping(self) -> Any:
            return self.trainer.early_stop_callback.early_stopping

        def _parts(self) -> dict[str, Any]:
            callback = getattr(self.trainer, "lr_scheduler_callback", None)
            return {**super()._parts(), "lr_scheduler": getattr(callback, "_scheduler", None)}

        def save(
            self, update: int, iteration: int | None = None, update_best: bool = False
        ) -> None:
            module.consolidate_optim_state_dict(self.trainer.optimizer)
            super().save(update, iteration, update_best)
            if get_rank() == 0 and self.config.training.wandb.log_checkpoint:
                path = os.path.join(self.ckpt_foldername, self.ckpt_prefix + "current.ckpt")
                self.trainer.logistics_callback.wandb_logger.log_model_checkpoint(path)

    replace(module, Checkpoint)
