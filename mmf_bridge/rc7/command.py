"""Patches of ``mmf_cli.run``: main's ``run(opts=...)``, torchrun, groups on CPU, second runs."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

from mmf_bridge.common import launch
from mmf_bridge.common.replace import replace
from mmf_bridge.common.seeding import seed_processes


def patch(module: ModuleType) -> None:
    """Give ``mmf_cli.run`` main's signature and one meaning on CPU and GPU."""
    registry = module.registry

    def main(configuration: Any, init_distributed: bool = False, predict: bool = False) -> None:
        module.setup_imports()
        configuration.import_user_dir()
        config = configuration.get_config()
        if torch.cuda.is_available():
            torch.cuda.set_device(config.device_id)
            torch.cuda.init()
        if init_distributed:
            module.distributed_init(config)
        registry.register("seed_given", seed_processes(config.training, module.set_seed))
        registry.register("seed", config.training.seed)
        print(f"Using seed {config.training.seed}")
        registry.register("writer", module.Logger(config, name="mmf.train"))
        trainer = module.build_trainer(configuration)
        launch.work(trainer, predict)

    def distributed_main(device_id: int, configuration: Any, predict: bool = False) -> None:
        launch.join(module, device_id, configuration, predict)

    def run(opts: list[str] | None = None, predict: bool = False) -> None:
        """Start a run from the command line, or from ``opts`` such as ``["config=x.yaml"]``."""
        launch.run(module, opts, predict)

    replace(module, main, distributed_main, run)
