"""The AdamW of transformers 2.3, which MMF registers as `adam_w`; transformers 5 dropped it.

`torch.optim.AdamW` is no substitute: its defaults are eps 1e-8 and weight decay 0.01, it decays
before the step and divides eps by the bias correction, which changes the first updates.
Source of the update rule: `transformers/optimization.py` of release 2.3.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch


class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay, applied after the step.

    Args:
        params: parameters or parameter groups.
        lr: learning rate.
        betas: decay of the running averages of the gradient and of its square.
        eps: added to the root of the *uncorrected* second moment.
        weight_decay: decoupled decay, in units of the learning rate.
        correct_bias: whether the start of the running averages at zero is corrected (BERT's
            original code does not).

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
        """Makes one update and returns the closure's loss, if a closure was given.

        Raises:
            RuntimeError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._update(param, group)
        return loss

    def _update(self, param: torch.Tensor, group: dict[str, Any]) -> None:
        if param.grad.is_sparse:
            raise RuntimeError("AdamW takes no sparse gradients; use torch.optim.SparseAdam.")
        state = self.state[param]
        if not state:
            state["step"] = torch.tensor(0.0)  # a tensor, as load_state_dict makes of it
            state["exp_avg"] = torch.zeros_like(param)
            state["exp_avg_sq"] = torch.zeros_like(param)
        state["step"] += 1
        step = int(state["step"].item())
        beta1, beta2 = group["betas"]
        state["exp_avg"].mul_(beta1).add_(param.grad, alpha=1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(param.grad, param.grad, value=1 - beta2)
        step_size = float(group["lr"])
        if group["correct_bias"]:
            step_size *= math.sqrt(1 - beta2**step) / (1 - beta1**step)
        denominator = state["exp_avg_sq"].sqrt().add_(group["eps"])
        param.addcdiv_(state["exp_avg"], denominator, value=-step_size)
        if group["weight_decay"] > 0:
            param.add_(param, alpha=-float(group["lr"]) * group["weight_decay"])
