"""Patches of ``mmf.utils.distributed``: no CUDA or NCCL where there is none."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mmf_bridge.common import distributed as common
from mmf_bridge.common.replace import replace
from mmf_bridge.common.resolvers import silence_empty_defaults


def patch(module: ModuleType) -> None:
    """Ranks and barriers on any backend; torchrun's environment; groups on CPU."""
    for name in ("get_rank", "get_world_size", "synchronize", "reduce_dict"):
        setattr(module, name, getattr(common, name))

    stock_infer = module.infer_init_method

    def infer_init_method(config: Any) -> None:
        settings = config.distributed
        alone = settings.init_method is None and not common.read_torchrun(config)
        if alone and int(settings.port) > 0:  # Slurm
            stock_infer(config)

    def distributed_init(config: Any) -> int:
        rank = common.init_process_group(config.distributed)
        module.suppress_output(rank == 0)
        silence_empty_defaults()  # again: MMF has just put a filter of its own before it
        return rank

    replace(module, infer_init_method, distributed_init)
