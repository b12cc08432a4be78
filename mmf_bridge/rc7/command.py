"""Mends of ``mmf_cli.run``: MMF main's ``run(opts=...)``, torchrun, groups on CPU, second runs."""

from __future__ import annotations

import argparse
from types import ModuleType
from typing import Any

import torch

from mmf_bridge.common.distributed import free_port, get_rank, local_rank_from_environment


def mend(module: ModuleType) -> None:
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
        seed = config.training.seed
        registry.register("seed_given", seed not in (None, -1))
        # As on main: processes draw their own dropout masks.
        config.training.seed = module.set_seed(seed + get_rank() if seed not in (None, -1) else seed)
        registry.register("seed", config.training.seed)
        print(f"Using seed {config.training.seed}")
        registry.register("writer", module.Logger(config, name="mmf.train"))
        trainer = module.build_trainer(configuration)
        trainer.load()
        if predict:
            trainer.inference()
        else:
            trainer.train()

    def distributed_main(device_id: int, configuration: Any, predict: bool = False) -> None:
        config = configuration.get_config()
        config.device_id = device_id
        registry.register("config", config)
        if config.distributed.rank is None:
            config.distributed.rank = config.start_rank + device_id
        main(configuration, init_distributed=True, predict=predict)

    def run(opts: list[str] | None = None, predict: bool = False) -> None:
        """Start a run from the command line, or from ``opts`` such as ``["config=x.yaml"]``."""
        # A second run in one process must not meet the first one's processors and counters.
        registry.mapping["state"].clear()
        module.setup_imports()
        if opts is None:
            args = module.flags.get_parser().parse_args()
        else:
            args = argparse.Namespace(config_override=None, opts=list(opts))
            if predict and not any(opt.startswith("evaluation.predict") for opt in opts):
                args.opts.append("evaluation.predict=true")
        print(args)
        configuration = module.Configuration(args)
        configuration.args = args
        config = configuration.get_config()
        config.start_rank = 0
        config.device_id = 0
        if config.distributed.init_method is None:
            module.infer_init_method(config)

        world_size = config.distributed.world_size
        if config.distributed.init_method is not None:
            gpus = torch.cuda.device_count()
            if gpus > 1 and not config.distributed.no_spawn:
                config.start_rank = config.distributed.rank
                config.distributed.rank = None
                _spawn(module.distributed_main, configuration, predict, gpus)
            else:
                distributed_main(local_rank_from_environment(), configuration, predict)
        elif world_size > 1:
            if torch.cuda.is_available() and world_size > torch.cuda.device_count():
                raise ValueError(
                    f"distributed.world_size is {world_size}, but this host has "
                    f"{torch.cuda.device_count()} GPUs"
                )
            config.distributed.init_method = f"tcp://localhost:{free_port()}"
            config.distributed.rank = None
            _spawn(module.distributed_main, configuration, predict, world_size)
        else:
            main(configuration, predict=predict)

    for function in (main, distributed_main, run):
        function.__module__, function.__qualname__ = module.__name__, function.__name__
        setattr(module, function.__name__, function)


def _spawn(function: Any, configuration: Any, predict: bool, processes: int) -> None:
    torch.multiprocessing.spawn(fn=function, args=(configuration, predict), nprocs=processes)
