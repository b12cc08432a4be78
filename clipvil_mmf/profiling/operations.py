"""What a network computes: multiply-adds of a forward pass, operations of a whole step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Operations:
    """What one forward pass computes."""

    macs: int  # multiply-adds of convolutions, matrix products and attention
    by_operator: dict[str, int]  # those of each kind
    uncounted: dict[str, int]  # operators that are not in `macs` -> number of calls


class _Calls(TorchDispatchMode):
    """Counts the operators that compute something, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if not func.is_view:
            self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def multiply_adds(network: nn.Module, inputs: tuple[Any, ...]) -> Operations:
    """Count the multiply-adds of one forward pass in evaluation mode, as it is computed.

    Nothing is traced, so that networks which take their weights from `functional_call` can be
    counted (a ViT on a grid that is not its own). The network keeps its mode.
    """
    training, fused = network.training, torch.backends.mha.get_fastpath_enabled()
    network.eval()
    try:
        # torch's fused attention of evaluation is one operator, which its counter does not know.
        torch.backends.mha.set_fastpath_enabled(False)
        with _Calls() as seen, _flop_counter() as counter:
            network.forward(*inputs)  # a call would run what may be compiled
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        network.train(training)
    flops = {op.__name__: count for op, count in counter.get_flop_counts()["Global"].items()}
    return Operations(
        macs=counter.get_total_flops() // 2,
        by_operator={name: count // 2 for name, count in flops.items()},
        uncounted={name: seen.calls[name] for name in sorted(seen.calls) if name not in flops},
    )


def operations_of(work: Callable[[], None]) -> int:
    """Floating-point operations of the products and convolutions in `work`, backward included.

    `work` is done once. A multiply-add is two; what a backward pass recomputes counts twice.
    """
    with _flop_counter() as counter:
        work()
    return counter.get_total_flops()


def _flop_counter() -> FlopCounterMode:
    from torch.utils.flop_counter import FlopCounterMode  # imports triton

    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _addmm})


def _addmm(target: torch.Size, left: torch.Size, right: torch.Size, **_: Any) -> int:
    """Of the product that is added in place, which torch's counter does not know."""
    return 2 * left[0] * left[1] * right[1]
