"""Patches of ``mmf_cli.run``: what both lines get, and main's log."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import torch

from mmf_bridge.common import launch

# What MMF's modules put into the registry as they are imported, and expect there for ever.
_KEPT = ("original_patch_functions",)


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

    launch.patch(module, begin, kept=_KEPT)
