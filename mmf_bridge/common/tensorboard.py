"""Patches of ``mmf.utils.logger``: a run has one folder of TensorBoard's, however often it goes on.

Stock MMF makes another one at each start of a command, also where nothing is written.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from mmf_bridge.common.distributed import get_rank
from mmf_bridge.common.replace import replace

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

                self._summary_writer = SummaryWriter(
                    self.tensorboard_folder, purge_step=self.begins_at
                )
            return self._summary_writer

        def close(self) -> None:
            if self._summary_writer is not None:
                self._summary_writer.close()

        __del__ = close

    replace(module, TensorboardLogger)


def folder_of_run(log_folder: str, time: str) -> str:
    """The newest of TensorBoard's folders among a run's logs, or one named by ``time``."""
    there = sorted(Path(log_folder).glob("tensorboard_*"))
    return str(there[-1] if there else Path(log_folder, f"tensorboard_{time}"))
