"""Patches of ``mmf.utils.logger``: one set of handlers a run, on both lines."""

from __future__ import annotations

import collections.abc
import logging
import os
import sys
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf
from tqdm import tqdm

from mmf_bridge.common.replace import replace


def patch_class(module: ModuleType) -> None:
    """Let TensorBoard find its folder, and a second run in one process log each line once."""

    class Logger(module.Logger):
        __doc__ = module.Logger.__doc__

        def __init__(self, config: Any, name: str | None = None) -> None:
            _forget_handlers(name or module.__name__)
            super().__init__(config, name)
            # The bridge and a plugin log under their own names; their lines belong into the same
            # file.
            plugin = os.path.basename(OmegaConf.select(config, "env.user_dir") or "").split(".")[0]
            for known in filter(None, ("mmf_bridge", plugin) if self.logger is not None else ()):
                logger = logging.getLogger(known)
                logger.handlers = list(self.logger.handlers)
                logger.setLevel(self.logger.level)
                # Libraries that put a handler on the root logger would repeat every line.
                logger.propagate = self.logger.propagate = False

        def write(self, *args: Any, **kwargs: Any) -> None:
            # A progress bar steps aside for a line.
            with tqdm.external_write_mode(sys.stdout):
                super().write(*args, **kwargs)

        @property
        def log_dir(self) -> str:
            return self.log_folder

        def log_progress(self, info: Any) -> None:
            if isinstance(info, collections.abc.Mapping):
                super().log_progress(info)
            else:
                self.write(info)

    replace(module, Logger)


def patch_setup(module: ModuleType) -> None:
    """Let a second run in one process log each line once, by main's ``setup_logger``."""
    stock = module.setup_logger

    def setup_logger(
        output: str | None = None, color: bool = True, name: str = "mmf", *args: Any, **kwargs: Any
    ) -> logging.Logger | None:
        _forget_handlers(name)
        return stock(output, color, name, *args, **kwargs)

    replace(module, setup_logger)


def _forget_handlers(name: str) -> None:
    for known in (name, "py.warnings"):
        logger = logging.getLogger(known)
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)
            handler.close()
