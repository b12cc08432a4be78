"""The AdamW of transformers 2.3, which MMF registers as `adam_w`; transformers 5 dropped it.

`torch.optim.AdamW` is no substitute: its defaults are eps 1e-8 and weight decay 0.01, it decays
before the step and divides eps by the bias correction, which changes the first updates.
Source of the update rule: `transformers/optimization.py` of release 2.3.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

# Elements updated at once. On a GPU many, for few launches: the temporary of an update then takes
# at most 128 MiB in float32. On a CPU few, which stay in its caches.
_CHUNK = 2**25
_CPU_CHUNK = 2**20


class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay, applied after the step.

    `eps` is added to the root of the *uncorrected* second moment. `correct_bias` says whether the
    start of the running averages at zero is corrected (BERT's original code does not).

    Raises:
        ValueError: a value is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
    ) -> None:
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
        for group in self.param_groups:
            group.setdefault("correct_bias", correct_bias)
        self.defaults["correct_bias"] = correct_bias

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        """Makes one update and returns the closure's loss, if a closure was given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            for part in _chunks(params):
                self.update_parameters(part, group)
        return loss

    def update_parameters(self, params: list[torch.Tensor], group: Mapping[str, Any]) -> None:
        """Make one update of parameters that have a gradient."""
        self.move_by_moments(params, group)
        if group["weight_decay"] > 0:
            self.decay(params, group)

    def move_by_moments(self, params: list[torch.Tensor], group: Mapping[str, Any]) -> None:
        """Adam's part of the update, without the decay."""
        if any(param.grad.is_sparse for param in params):
            raise RuntimeError("AdamW takes no sparse gradients; use torch.optim.SparseAdam.")
        grads = [param.grad for param in params]
        states = [self._state_of(param) for param in params]
        averages = [state["exp_avg"] for state in states]
        squares = [state["exp_avg_sq"] for state in states]
        beta1, beta2 = group["betas"]
        step_sizes = []
        for state in states:
            state["step"] += 1
            step, size = int(state["step"]), float(group["lr"])
            if group["correct_bias"]:
                size *= math.sqrt(1 - beta2**step) / (1 - beta1**step)
            step_sizes.append(-size)
        for some, grad, average, square in _pieces(params, grads, averages, squares):
            torch._foreach_mul_(average, beta1)
            torch._foreach_add_(average, grad, alpha=1 - beta1)
            torch._foreach_mul_(square, beta2)
            torch._foreach_addcmul_(square, grad, grad, value=1 - beta2)
            denominators = torch._foreach_sqrt(square)
            torch._foreach_add_(denominators, group["eps"])
            torch._foreach_addcdiv_(some, average, denominators, step_sizes)

    def decay(self, params: list[torch.Tensor], group: Mapping[str, Any]) -> None:
        """Shrink parameters by ``lr * weight_decay`` of what they are now."""
        torch._foreach_add_(params, params, alpha=-float(group["lr"]) * group["weight_decay"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's; steps are counted on the CPU, wherever the checkpoint was mapped to."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            if "step" in state:
                state["step"] = state["step"].cpu()

    def _state_of(self, param: torch.Tensor) -> dict[str, Any]:
        state = self.state[param]
        if not state:
            moments = {name: torch.zeros_like(param) for name in ("exp_avg", "exp_avg_sq")}
            state.update(step=torch.tensor(0.0), **moments)  # a tensor, as load_state_dict makes it
        return state


def _limit(param: torch.Tensor) -> int:
    return _CPU_CHUNK if param.device.type == "cpu" else _CHUNK


def _chunks(params: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Consecutive parts of a bounded number of elements, or of one larger tensor."""
    part: list[torch.Tensor] = []
    size = 0
    for param in params:
        if part and size + param.numel() > _limit(param):
            yield part
            part, size = [], 0
        part.append(param)
        size += param.numel()
    if part:
        yield part


def _pieces(*lists: list[torch.Tensor]) -> Iterator[tuple[list[torch.Tensor], ...]]:
    """Lists of tensors as they are; of one large tensor each, some rows at a time."""
    first = lists[0][0]
    if len(lists[0]) > 1 or first.numel() <= _limit(first):
        yield lists
        return
    rows = max(1, len(first) * _limit(first) // first.numel())
    for parts in zip(*(tensor.split(rows) for (tensor,) in lists), strict=True):
        yield tuple([part] for part in parts)
