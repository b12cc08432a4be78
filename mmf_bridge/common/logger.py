"""Patches of ``mmf.utils.logger``: one set of handlers a run, on both lines.

MMF's log file keeps its lines and their format; what the console shows of them, see ``console.py``.
"""

from __future__ import annotations

import collections.abc
import contextlib
import io
import logging
import os
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf

from mmf_bridge.common.console import MMF, ConsoleHandler, be_silent, leave_root, speak
from mmf_bridge.common.replace import replace

_BRIDGE = "mmf_bridge"


def patch_class(module: ModuleType) -> None:
    """Let TensorBoard find its folder, and a second run in one process log each line once."""

    class Logger(module.Logger):
        __doc__ = module.Logger.__doc__

        def __init__(self, config: Any, name: str | None = None) -> None:
            _forget_handlers(name or module.__name__)
            with contextlib.redirect_stdout(io.StringIO()):  # "Logging to", which the console says
                super().__init__(config, name)
            if self.logger is None:
                be_silent()
                return
            own = _own_packages(config)
            files = [h for h in self.logger.handlers if isinstance(h, logging.FileHandler)]
            speak(files, own, self.logger.level)
            # The bridge and a plugin log under their own names; their lines belong into the same
            # file.
            for logger in (self.logger, *map(logging.getLogger, own)):
                logger.handlers = [*files, ConsoleHandler(own, self.logger.level)]
                logger.setLevel(self.logger.level)
                # Libraries that put a handler on the root logger would repeat every line.
                logger.propagate = False

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
        console = io.StringIO()
        with contextlib.redirect_stdout(console):
            logger = stock(output, color, name, *args, **kwargs)
        if logger is None or module.get_rank() != 0:
            be_silent()
            return logger
        files = [h for h in logger.handlers if getattr(h, "stream", None) is not console]
        for handler in logging.root.handlers[:]:
            if handler in logger.handlers:
                logging.root.removeHandler(handler)
        config = module.registry.get("config", no_warning=True)
        own = _own_packages(config)
        speak(files, own, logger.level)
        logger.handlers = [*files, ConsoleHandler(own, logger.level)]
        return logger

    def setup_very_basic_config(color: bool = True) -> None:
        """What is logged before a run begins is MMF's: warnings alone are for the console."""
        logging.basicConfig(level=logging.INFO, handlers=[ConsoleHandler([_BRIDGE])])

    replace(module, setup_logger, setup_very_basic_config)


def _own_packages(config: Any) -> list[str]:
    """The names of the loggers that speak to the user: the bridge's and the plugin's."""
    folder = OmegaConf.select(config, "env.user_dir") if config else None
    plugin = os.path.basename((folder or "").rstrip("/")).split(".")[0]
    return [name for name in (_BRIDGE, plugin) if name and name not in MMF]


def _forget_handlers(name: str) -> None:
    leave_root()
    for known in (name, "py.warnings"):
        logger = logging.getLogger(known)
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)
            handler.close()
