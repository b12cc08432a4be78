"""Mends of ``mmf.utils.distributed``: no CUDA or NCCL where there is none."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

from mmf_bridge.common import distributed as common
from mmf_bridge.common.replace import replace


def mend(module: ModuleType) -> None:
    """Ranks and barriers on any backend; torchrun's environment; groups on CPU."""
    module.get_rank = common.get_rank
    module.get_world_size = common.get_world_size

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

    def reduce_dict(dictionary: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Means over all processes, on every rank; the caller's tensors stay as they are."""
        world_size = common.get_world_size()
        if world_size < 2 or not dictionary:
            return dictionary
        keys = sorted(dictionary)
        values = torch.stack([dictionary[key].detach().float().mean() for key in keys])
        torch.distributed.all_reduce(values)
        return dict(zip(keys, values / world_size, strict=True))

    replace(module, synchronize, infer_init_method, distributed_init, reduce_dict)
