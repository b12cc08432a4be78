"""Patches of ``mmf_cli.run`` (what both lines get, and main's log) and ``mmf.utils.patch``."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import torch

from mmf_bridge.common import launch
from mmf_bridge.common.replace import replace


def patch(module: ModuleType) -> None:
    """What both lines get."""

    def begin(configuration: Any) -> Any:
        config = module.build_config(configuration)
        training = config.training
        module.setup_logger(color=training.colored_logs, disable=training.should_not_log)
        logger = logging.getLogger(module.__name__)
        logger.info(configuration.args)
        logger.info(f"Torch version: {torch.__version__}")
        module.log_device_names()
        logger.info(f"Using seed {training.seed}")
        return module.build_trainer(config)

    launch.patch(module, begin)


def patch_transformers(module: ModuleType) -> None:
    """Leave transformers' old module names to ``mmf_bridge.moved``, which finds them when asked.

    Stock MMF imports every model of transformers at each start, to alias all of their modules.
    """

    def patch_transformers(log_incompatible: bool = False) -> None:
        """Nothing to do: see ``mmf_bridge.moved.MovedFinder``."""

    replace(module, patch_transformers)
