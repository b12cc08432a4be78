"""Multiply-adds of a forward pass, counted by fvcore, and what a whole step computes, by torch."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

with warnings.catch_warnings():
    # It compiles losses of its own by torch.jit.script, which torch has deprecated.
    warnings.simplefilter("ignore", FutureWarning)
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import (
        addmm_flop_jit,
        bmm_flop_jit,
        conv_flop_jit,
        einsum_flop_jit,
        get_shape,
        linear_flop_jit,
        matmul_flop_jit,
    )


def attention_macs(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Multiply-adds of `scaled_dot_product_attention`: its two products, of all heads.

    Args:
        inputs: fvcore's handles of the operator's arguments, query (..., L, E), key (..., S, E) and
            value (..., S, V) first.
        outputs: of its results; not read.
    """
    query, key, value = (get_shape(handle) for handle in inputs[:3])
    products = math.prod(query[:-1]) * key[-2]
    return Counter({"attention": products * (query[-1] + value[-1])})


# Products of matrices, and what is made of them. All else has no multiply-adds worth counting
# (activations, norms, sums, gathers); it is listed by name.
_COUNTED = {
    "aten::_convolution": conv_flop_jit,
    "aten::convolution": conv_flop_jit,
    "aten::linear": linear_flop_jit,
    "aten::addmm": addmm_flop_jit,
    "aten::bmm": bmm_flop_jit,
    "aten::matmul": matmul_flop_jit,
    "aten::mm": matmul_flop_jit,
    "aten::einsum": einsum_flop_jit,
    "aten::scaled_dot_product_attention": attention_macs,
}


@dataclass(frozen=True)
class Operations:
    """What one forward pass computes.

    Args:
        macs: multiply-adds of convolutions, matrix products and attention.
        by_operator: those of each kind.
        uncounted: operators that are not in `macs` -> how often each was called.
    """

    macs: int
    by_operator: dict[str, int]
    uncounted: dict[str, int]


class _Named(nn.Module):
    """Gives a network its named tuples back, of which tracing makes plain ones."""

    def __init__(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        super().__init__()
        self.network = network
        self.kinds = [type(value) if isinstance(value, tuple) else None for value in inputs]

    def forward(self, *inputs: Any) -> Any:
        pairs = zip(self.kinds, inputs, strict=True)
        return self.network(*(value if kind is None else kind(*value) for kind, value in pairs))


@torch.no_grad()
def multiply_adds(network: nn.Module, inputs: tuple[Any, ...]) -> Operations:
    """Count the multiply-adds of one forward pass in evaluation mode.

    Args:
        network: in any mode, which is kept.
        inputs: its arguments: tensors, or named tuples of them, whose last fields may be None.
    """
    training = network.training
    network.eval()
    plain = tuple(
        tuple(field for field in value if field is not None) if isinstance(value, tuple) else value
        for value in inputs
    )
    analysis = FlopCountAnalysis(_Named(network, inputs), plain)
    analysis.clear_op_handles().set_op_handle(**_COUNTED)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with warnings.catch_warnings():
        # fvcore traces the network; what a trace fixes is the shapes, and they are all it needs.
        warnings.simplefilter("ignore")
        by_operator = {name: int(count) for name, count in analysis.by_operator().items()}
        uncounted = {
            name.removeprefix("aten::"): count for name, count in analysis.unsupported_ops().items()
        }
    network.train(training)
    return Operations(sum(by_operator.values()), by_operator, dict(sorted(uncounted.items())))


def operations_of(work: Callable[[], None]) -> int:
    """Floating-point operations of the products and convolutions in `work`, backward included.

    A multiply-add is two. What is computed again in a backward pass counts again.

    Args:
        work: is done once.
    """
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _addmm}) as counter:
        work()
    return counter.get_total_flops()


def _addmm(target: torch.Size, left: torch.Size, right: torch.Size, **_: Any) -> int:
    """Of the product that is added in place, which torch's counter does not know."""
    return 2 * left[0] * left[1] * right[1]
