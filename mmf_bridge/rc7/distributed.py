"""Mends of ``mmf.utils.distributed``: no CUDA or NCCL where there is none."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

from mmf_bridge.common import distributed as common
from mmf_bridge.common.replace import replace
from mmf_bridge.common.resolvers import silence_empty_defaults


def mend(module: ModuleType) -> None:
    """Ranks and barriers on any backend; torchrun's environment; groups on CPU."""
    for name in ("get_rank", "get_world_size", "synchronize"):
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

    def reduce_dict(dictionary: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Means over all processes, on every rank; the caller's tensors stay as they are."""
        world_size = common.get_world_size()
        if world_size < 2 or not dictionary:
            return dictionary
        keys = sorted(dictionary)
        values = torch.stack([dictionary[key].detach().float().mean() for key in keys])
        torch.distributed.all_reduce(values)
        return dict(zip(keys, values / world_size, strict=True))

    replace(module, infer_init_method, distributed_init, reduce_dict)
