"""The published optimizers as one: AdamW for the transformer, SGD for the visual tower.

One torch optimizer, so that one loss scaler, one clipping, one schedule and one entry of a
checkpoint hold all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim.sgd import sgd

from clipvil_mmf.config import ConfigError, check_choice
from clipvil_mmf.optim.groups import ALGORITHMS
from mmf_bridge.common.adamw import AdamW

_DECAYS = ("after", "before")


class AdamWSGD(AdamW):
    """The AdamW of transformers 3.3.1, and SGD for groups that ask for it.

    What differs from `torch.optim.AdamW`: `eps` is added to the root of the *uncorrected* second
    moment (torch divides `eps` by the correction, so at the first update it weighs 31.6 times less
    there), and the decay shrinks the *moved* parameter.

    Args:
        params: parameters or groups. A group may have `algorithm` (`adamw` or `sgd`) and, with
            `sgd`, `momentum`; its `weight_decay` is then added to the gradient, as in
            `torch.optim.SGD`.
        lr: like `betas`, `eps`, `weight_decay` and `correct_bias` as of the bridge's AdamW.
        decay: `after` the step, as transformers 3.3.1, or `before`, as torch and BertAdam: with
            this, and without `correct_bias`, it is LXMERT's BertAdam.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        correct_bias: bool = True,
        decay: str = "after",
    ) -> None:
        check_choice("optimizer.params.decay", decay, _DECAYS)
        super().__init__(params, lr, betas, eps, weight_decay, correct_bias)
        own = {"algorithm": "adamw", "momentum": 0.0, "decay": decay}
        self.defaults.update(own)
        for group in self.param_groups:
            for key, value in own.items():
                group.setdefault(key, value)
            where = f"optimizer.groups.{group.get('name', '?')}"
            check_choice(f"{where}.algorithm", group["algorithm"], ALGORITHMS)
            if not 0.0 <= group["momentum"] < 1.0:
                raise ConfigError(
                    f"{where}.momentum: got {group['momentum']}, expected at least 0 and below 1."
                )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As of any torch optimizer; Adam's own expects a count of steps for every parameter."""
        torch.optim.Optimizer.__setstate__(self, state)

    def update_parameters(self, params: list[torch.Tensor], group: Mapping[str, Any]) -> None:
        """Make one update of parameters of one group that have a gradient."""
        if group["algorithm"] == "sgd":
            self._descend(params, group)
        elif group["decay"] == "before":
            if group["weight_decay"] > 0:
                self.decay(params, group)
            self.move_by_moments(params, group)
        else:
            super().update_parameters(params, group)

    def _descend(self, params: list[torch.Tensor], group: Mapping[str, Any]) -> None:
        momentum = group["momentum"]
        kept = [self.state[param].get("momentum_buffer") if momentum else None for param in params]
        sgd(
            params,
            [param.grad for param in params],
            kept,
            weight_decay=group["weight_decay"],
            momentum=momentum,
            lr=float(group["lr"]),
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        if momentum:
            for param, buffer in zip(params, kept, strict=True):
                self.state[param]["momentum_buffer"] = buffer
