"""What one network costs in this process: a training step and a prediction."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.profiling.batch import Batch
from clipvil_mmf.profiling.memory import peak_memory
from clipvil_mmf.profiling.operations import multiply_adds, operations_of

# Side of the matrices whose product says what a device can do, and how many are timed.
_SIDE, _CPU_SIDE = 8192, 1024
_PRODUCTS = 5


@dataclass(frozen=True)
class Parameters:
    """How many parameters there are, each counted once."""

    trainable: int
    total: int  # of the whole network, with what a tuning method has added

    @property
    def percent(self) -> float:
        """The share that is trainable."""
        return 100 * self.trainable / self.total


def count_parameters(model: nn.Module) -> Parameters:
    """Count the parameters of a model; shared ones count once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return Parameters(sum(n for n, trainable in sizes if trainable), sum(n for n, _ in sizes))


@dataclass(frozen=True)
class Figures:
    """What a network costs. Sizes in bytes, times in seconds; medians over the repeats."""

    parameters: Parameters
    macs_per_image: int  # multiply-adds of a forward pass of one image and its question
    uncounted: dict[str, int]  # operators without multiply-adds in that -> number of calls
    peak: int  # memory of a training step
    growth: int  # of that, what is above the resting size
    memory_by: str  # how it was measured
    step: float  # time of a training step, of the whole batch
    predict: float  # time of a prediction, of the whole batch
    step_operations: int  # floating-point operations of a training step
    matmul_rate: float  # of a large matrix product on the same device, operations per second

    def utilisation(self, rate: float) -> float:
        """How fast a step computes, as a share of `rate` (operations per second)."""
        return self.step_operations / self.step / rate


def measure(
    network: ClipVilNetwork,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any, Tensor], Tensor],
    batch: Batch,
    max_norm: float | None,
    precision: str,
    repeats: int,
) -> Figures:
    """Measure a training step and a prediction of a network; the network is trained by it.

    A step is forward, loss, backward, clip and update. Each is done once before, so that the
    optimizer's state is there and nothing is set up in the timed ones; of the step that is when its
    operations are counted.

    Args:
        network: on the device of the batch.
        optimizer: over its trainable parameters.
        loss: the network's output and the task's targets -> ().
        batch: what both take.
        max_norm: gradients are clipped to this joint norm; None does not clip.
        precision: one of `PRECISIONS`; bf16 is autocast, as in training.
        repeats: of each measurement, at least 1.
    """
    device = batch.targets.device
    is_bf16 = precision == "bf16"

    def forward() -> Any:
        with torch.autocast(device.type, torch.bfloat16) if is_bf16 else nullcontext():
            return network(*batch.inputs_of(network))

    def train() -> None:
        loss(forward(), batch.targets).backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), max_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    network.train()
    step_operations = operations_of(train)
    steps: list[float] = []
    memories = [
        peak_memory(lambda: steps.append(_seconds(train, device)), device) for _ in range(repeats)
    ]
    network.eval()
    predict = torch.inference_mode()(forward)
    predict()
    predictions = [_seconds(predict, device) for _ in range(repeats)]
    operations = multiply_adds(network, batch.inputs_of(network))
    return Figures(
        parameters=count_parameters(network),
        macs_per_image=operations.macs // len(batch.targets),
        uncounted=operations.uncounted,
        peak=int(median(memory.peak for memory in memories)),
        growth=int(median(memory.growth for memory in memories)),
        memory_by=memories[0].how,
        step=median(steps),
        predict=median(predictions),
        step_operations=step_operations,
        matmul_rate=matmul_rate(device, precision),
    )


def matmul_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations per second of a large matrix product in one of `PRECISIONS`.

    In float32 on CUDA that is by TF32 if torch lets convolutions use it (its default), though its
    own default for products does not.
    """
    side = _SIDE if device.type == "cuda" else _CPU_SIDE
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    output = torch.empty_like(left)

    def multiply() -> None:
        torch.mm(left, right, out=output)

    own = torch.get_float32_matmul_precision()
    by_tf32 = device.type == "cuda" and torch.backends.cudnn.allow_tf32
    if by_tf32:
        torch.set_float32_matmul_precision("high")
    try:
        multiply()
        seconds = median(_seconds(multiply, device) for _ in range(_PRODUCTS))
    finally:
        if by_tf32:  # a compiled graph is made anew after it was set, even to what it was
            torch.set_float32_matmul_precision(own)
    return 2 * side**3 / seconds


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start
