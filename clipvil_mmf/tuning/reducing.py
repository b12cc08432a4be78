"""Narrow copies of a frozen backbone's hidden states, and what of the states waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from clipvil_mmf.layers.recompute import run
from clipvil_mmf.tuning.side import HiddenStates, SideConfig


@dataclass
class ReducingConfig(SideConfig):
    """What the `params` of the side networks that reduce each hidden state have."""

    # The gradients of a reduction's weights need the state that it has reduced. false keeps the
    # states, (B, S, D) each, until the backward pass; true recomputes the frozen fusion there,
    # with the same dropout, and holds one state at a time.
    recompute_states: bool = False


def reduce_states(
    reductions: Sequence[nn.Module], states: HiddenStates, recompute: bool
) -> list[Tensor]:
    """Reduce the first hidden states, each by its own module, as they appear.

    Args:
        reductions: modules (B, S, D) -> (B, S, d), without dropout.
        states: of which as many are read.
        recompute: see :class:`ReducingConfig`.
    """
    if recompute and torch.is_grad_enabled():
        if torch.compiler.is_compiling():
            return _reduce_and_recompute(reductions, states)
        trainable = [parameter for reduction in reductions for parameter in _trainable(reduction)]
        return list(_Recomputing.apply(states, reductions, *trainable))
    pairs = zip(reductions, islice(states, len(reductions)), strict=True)
    return [run(reduction, state, recompute=True, dropout=False) for reduction, state in pairs]


def _reduce_and_recompute(reductions: Sequence[nn.Module], states: HiddenStates) -> list[Tensor]:
    """What :class:`_Recomputing` does, for a compiled graph: it decides itself what it holds."""

    def reduce() -> tuple[Tensor, ...]:
        fresh = states.from_start()
        pairs = zip(reductions, islice(fresh, len(reductions)), strict=True)
        return *(reduction(state) for reduction, state in pairs), fresh.last

    *reduced, states.last = run(reduce, recompute=True)
    return reduced


class _Recomputing(torch.autograd.Function):
    """Reduces states that it does not keep."""

    @staticmethod
    def forward(
        ctx: Any, states: HiddenStates, reductions: Sequence[nn.Module], *trainable: Tensor
    ) -> tuple[Tensor, ...]:
        kind = trainable[0].device.type
        ctx.states, ctx.reductions = states, reductions
        ctx.random_state = states.random_state()
        ctx.autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        pairs = zip(reductions, islice(states, len(reductions)), strict=True)
        return tuple(reduction(state) for reduction, state in pairs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        found: list[Tensor] = []
        with ctx.states.repeated(ctx.random_state) as states:
            for reduction, gradient in zip(ctx.reductions, gradients, strict=True):
                with torch.enable_grad(), torch.autocast(*ctx.autocast):
                    output = reduction(next(states))
                found += torch.autograd.grad(output, _trainable(reduction), gradient)
        return None, None, *found


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
