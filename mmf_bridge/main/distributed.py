"""Patches of ``mmf.utils.distributed``: no CUDA or NCCL where there is none."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mmf_bridge.common import distributed as common
from mmf_bridge.common.replace import replace


def patch(module: ModuleType) -> None:
    """Ranks and barriers on any backend; torchrun's environment; groups on CPU."""
    for name in ("get_rank", "get_world_size", "reduce_dict"):
        setattr(module, name, getattr(common, name))

    def synchronize(message: str = "sync-workers") -> None:
        """Wait for the other processes, if there are any."""
        common.synchronize()

    stock_infer = module.infer_init_method

    def infer_init_method(config: Any) -> None:
        if config.distributed.init_method is not None or common.read_torchrun(config):
            return
        if int(config.distributed.port) > 0:
            stock_infer(config)

    def distributed_init(config: Any) -> int:
        rank = common.init_process_group(config.distributed)
        module.suppress_output(rank == 0)
        return rank

    replace(module, synchronize, infer_init_method, distributed_init)
