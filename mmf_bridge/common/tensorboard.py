"""Patches of ``mmf.utils.logger``: a run has one folder of TensorBoard's, however often it goes on.

Stock MMF makes another one at each start of a command, also where nothing is written. There, a full
disk ends the run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mmf_bridge.common.distributed import get_rank
from mmf_bridge.common.replace import replace

logger = logging.getLogger(__name__)

_TIME = "%Y-%m-%dT%H:%M:%S"


def patch(module: ModuleType) -> None:
    """Write into the folder that a run has already, from the first figure on."""

    class TensorboardLogger(module.TensorboardLogger):
        __doc__ = module.TensorboardLogger.__doc__

        def __init__(self, log_folder: str = "./logs", iteration: int = 0) -> None:
            self._is_master = self._is_main = get_rank() == 0
            self._summary_writer: Any = None
            # The step from which on what is in the folder does not count: a training begins there.
            self.begins_at: int | None = None
            self.timer = module.Timer()
            self.log_folder = log_folder
            self.tensorboard_folder = folder_of_run(
                log_folder, self.timer.get_time_hhmmss(None, format=_TIME)
            )

        @property
        def summary_writer(self) -> Any:
            if self._summary_writer is None and self._is_master:
                from torch.utils.tensorboard import SummaryWriter

                threading.excepthook = _said_by_the_run
                self._summary_writer = SummaryWriter(
                    self.tensorboard_folder, purge_step=self.begins_at
                )
            return self._summary_writer

        def add_scalar(self, key: str, value: Any, iteration: int) -> None:
            self._attempt(super().add_scalar, key, value, iteration)

        def add_scalars(self, scalar_dict: Mapping[str, Any], iteration: int) -> None:
            self._attempt(super().add_scalars, scalar_dict, iteration)

        def add_histogram_for_model(self, model: Any, iteration: int) -> None:
            self._attempt(super().add_histogram_for_model, model, iteration)

        def close(self) -> None:
            if self._summary_writer is not None:
                self._attempt(self._summary_writer.close)

        __del__ = close

        def _attempt(self, write: Callable[..., None], *values: Any) -> None:
            """Write; where the disk does not take it, be left out, and let the run go on."""
            try:
                write(*values)
            except OSError as error:
                self._summary_writer, self._is_master, self._is_main = None, False, False
                folder = self.tensorboard_folder
                logger.warning("TensorBoard is left out from here on: %s: %s", folder, error)

    replace(module, TensorboardLogger)


def _said_by_the_run(failure: threading.ExceptHookArgs) -> None:
    """Print no traceback of TensorBoard's thread: the next figure raises its error."""
    if type(failure.thread).__name__ != "_AsyncWriterThread":
        threading.__excepthook__(failure)


def folder_of_run(log_folder: str, time: str) -> str:
    """The newest of TensorBoard's folders among a run's logs, or one named by ``time``."""
    there = sorted(Path(log_folder).glob("tensorboard_*"))
    return str(there[-1] if there else Path(log_folder, f"tensorboard_{time}"))
