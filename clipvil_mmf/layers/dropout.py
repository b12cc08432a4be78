"""Dropout with cheap random numbers on CPU, where torch's own takes a tenth of a training step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_STEPS = 2**16
_DRAWN_AT_ONCE = 4


def drop(values: Tensor, p: float) -> Tensor:
    """Set each value to zero with probability `p`, and scale the others by 1 / (1 - p).

    On CPU torch draws 64 random bits for each value, and keeps a mask of `values`' own type for
    the backward pass. Here a value takes 16 bits, so that `p` is rounded to a multiple of 2**-16,
    and the mask is of bytes. On other devices it is torch's own.

    Returns:
        A new tensor like `values`, or `values` themselves where nothing is dropped.
    """
    if p == 0:
        return values
    if values.device.type != "cpu":
        return F.dropout(values, p)
    dropped = round(p * _STEPS)
    if dropped == _STEPS:
        return values * 0
    if torch.compiler.is_compiling():
        drawn = _draw_compiled(values.detach())
    else:
        drawn = _draw(values.numel())
    drawn, least = drawn.view(values.shape), dropped - _STEPS // 2
    if torch.compiler.is_compiling():
        output = values * (drawn >= least)
    elif torch.is_grad_enabled() and values.requires_grad:
        # A boolean mask takes four times as long to make, and to multiply by.
        output = values * torch.ge(drawn, least, out=torch.empty_like(drawn, dtype=torch.uint8))
    else:  # no mask is kept: written as numbers at once, it needs no conversion
        output = torch.ge(drawn, least, out=torch.empty_like(values)).mul_(values)
    return output.mul_(_STEPS / (_STEPS - dropped))


def _draw(count: int) -> Tensor:
    """Uniform random numbers of torch's generator: (count,) int16."""
    words = torch.empty(-(-count // _DRAWN_AT_ONCE), dtype=torch.int64)
    return words.random_(-(2**63), None).view(torch.int16)[:count]


@torch.library.custom_op(
    "clipvil_mmf::draw_like", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,)
)
def _draw_compiled(values: Tensor) -> Tensor:
    """:func:`_draw` as one operator of a compiled graph, a number for each value.

    torch.compile does not know `random_`; the numbers that it would make itself take several times
    as long on CPU, and are others. It takes a tensor because only then it can be recomputed.
    """
    return _draw(values.numel())


_draw_compiled.register_fake(lambda values: values.new_empty(values.numel(), dtype=torch.int16))


class Dropout(nn.Dropout):
    """`nn.Dropout`, by :func:`drop`."""

    def forward(self, values: Tensor) -> Tensor:
        """A tensor of any shape -> one like it."""
        return drop(values, self.p) if self.training else values
