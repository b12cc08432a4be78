"""Process groups without CUDA assumptions: NCCL on GPUs, gloo on CPUs, torchrun's environment."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from mmf_bridge.common.replace import replace
from mmf_bridge.common.resolvers import silence_empty_defaults

# What gloo, NCCL and torch's store say of a peer that is gone.
_CLOSED = re.compile(r"(?i:connection (was )?(closed|reset) by (remote )?peer)|Broken pipe")
TO_GO_ON = "A training goes on from its last checkpoint with checkpoint.resume=true"
_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")


def initialized() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def get_rank() -> int:
    """The number of this process, 0 if it is alone."""
    return dist.get_rank() if initialized() else 0


def get_world_size() -> int:
    """The number of processes, 1 without a group."""
    return dist.get_world_size() if initialized() else 1


def synchronize(message: str = "") -> None:
    """Wait for the other processes, if there are any; MMF main gives a message."""
    if get_world_size() > 1:
        dist.barrier()


def read_torchrun(config: MutableMapping[str, Any]) -> bool:
    """Take rank and world size from torchrun's environment; whether it names several processes."""
    if not all(key in os.environ for key in _TORCHRUN) or int(os.environ["WORLD_SIZE"]) < 2:
        return False
    config.distributed.init_method = "env://"
    config.distributed.world_size = int(os.environ["WORLD_SIZE"])
    config.distributed.rank = int(os.environ["RANK"])
    config.distributed.no_spawn = True
    return True


def free_port() -> int:
    """A TCP port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel or DataParallel, or the module itself."""
    parallel = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    return model.module if isinstance(model, parallel) else model


def broadcast_object(value: Any, src: int = 0) -> Any:
    """Rank ``src``'s picklable ``value``, on every rank."""
    if get_world_size() < 2:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=src)
    return box[0]


def gather_objects(value: Any) -> list[Any]:
    """Every rank's picklable ``value``, by rank, on every rank."""
    if get_world_size() < 2:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def any_process(flag: torch.Tensor) -> bool:
    """Whether the boolean scalar ``flag`` holds in any process; every rank gets the same answer."""
    if get_world_size() > 1:
        flag = flag.to(torch.int32)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag)


@contextmanager
def peers_watched() -> Iterator[None]:
    """Make one line of an error that comes of another rank's end: it was killed, or has failed.

    Raises:
        RuntimeError: a connection to another rank is closed.
    """
    try:
        yield
    except RuntimeError as error:
        closed = _CLOSED.search(str(error))
        if closed is None:
            raise
        raise RuntimeError(
            f"Rank {get_rank()} ends, since another rank has ended ({closed[0]}). {TO_GO_ON}"
        ) from error


def broadcast_buffers(model: nn.Module) -> None:
    """Give every rank rank 0's buffers (BatchNorm statistics), so that all evaluate one model."""
    if get_world_size() > 1:
        for buffer in unwrap(model).buffers():
            dist.broadcast(buffer, src=0)


def reduce_dict(dictionary: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Means over all processes, on every rank; the caller's tensors stay as they are."""
    world_size = get_world_size()
    if world_size < 2 or not dictionary:
        return dictionary
    keys = sorted(dictionary)
    values = torch.stack([dictionary[key].detach().float().mean() for key in keys])
    dist.all_reduce(values)
    return dict(zip(keys, values / world_size, strict=True))


def patch(module: ModuleType) -> None:
    """Let ``mmf.utils.distributed`` use any backend, torchrun's environment, and groups on CPU."""
    stock_infer = module.infer_init_method

    def infer_init_method(config: Any) -> None:
        settings = config.distributed
        alone = settings.init_method is None and not read_torchrun(config)
        if alone and int(settings.port) > 0:  # Slurm
            stock_infer(config)

    def distributed_init(config: Any) -> int:
        """Join the process group that MMF's ``distributed`` section describes; return the rank."""
        settings = config.distributed
        if not initialized():
            # NCCL needs GPUs.
            backend = settings.backend if torch.cuda.is_available() else "gloo"
            dist.init_process_group(
                backend=backend,
                init_method=settings.init_method,
                world_size=settings.world_size,
                rank=settings.rank,
            )
            print(
                f"Initialized host {socket.gethostname()} as rank {get_rank()} of "
                f"{get_world_size()} ({backend})",
                flush=True,
            )
        settings.rank = get_rank()
        module.suppress_output(settings.rank == 0)
        silence_empty_defaults()  # again: MMF has just put a filter of its own before it
        return settings.rank

    for function in (get_rank, get_world_size, reduce_dict, synchronize):
        setattr(module, function.__name__, function)
    replace(module, infer_init_method, distributed_init)
