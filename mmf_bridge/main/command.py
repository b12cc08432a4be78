"""Patches of ``mmf_cli.run``: torchrun, groups on CPU, runs without a seed, second runs."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import torch

from mmf_bridge.common import launch
from mmf_bridge.common.replace import replace
from mmf_bridge.common.seeding import seed_processes

# What MMF's modules put into the registry as they are imported, and expect there for ever.
_KEPT = ("original_patch_functions",)


def patch(module: ModuleType) -> None:
    """Give ``mmf_cli.run`` one meaning on CPU and GPU, and the same as on rc7."""
    registry = module.registry

    def main(configuration: Any, init_distributed: bool = False, predict: bool = False) -> None:
        module.setup_imports()
        configuration.import_user_dir()
        config = configuration.get_config()
        # An initialised CUDA makes MMF move batches there, also where training.device is cpu.
        if torch.cuda.is_available() and config.training.device != "cpu":
            torch.cuda.set_device(config.device_id)
            torch.cuda.init()
        if init_distributed:
            module.distributed_init(config)
        registry.register("seed_given", seed_processes(config.training, module.set_seed))
        registry.register("seed", config.training.seed)
        config = module.build_config(configuration)
        module.setup_logger(
            color=config.training.colored_logs, disable=config.training.should_not_log
        )
        logger = logging.getLogger(module.__name__)
        logger.info(configuration.args)
        logger.info(f"Torch version: {torch.__version__}")
        module.log_device_names()
        logger.info(f"Using seed {config.training.seed}")
        trainer = module.build_trainer(config)
        launch.work(trainer, predict)

    def distributed_main(device_id: int, configuration: Any, predict: bool = False) -> None:
        launch.join(module, device_id, configuration, predict)

    def run(opts: list[str] | None = None, predict: bool = False) -> None:
        """Start a run from the command line, or from ``opts`` such as ``["config=x.yaml"]``."""
        launch.run(module, opts, predict, kept=_KEPT)

    replace(module, main, distributed_main, run)
