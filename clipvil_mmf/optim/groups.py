"""Which parameter is trained how: the section `optimizer.groups` of a yaml file.

The groups carry what differs from `optimizer.params`, and so suit every optimizer that takes
torch's parameter groups: the published one (`clipvil_adamw_sgd`), or torch's own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from clipvil_mmf.config import ConfigError, check_at_least, check_choice, from_config

logger = logging.getLogger(__name__)

DECAY, NO_DECAY, TOWER = "decay", "no_decay", "tower"
ALGORITHMS = ("adamw", "sgd")


@dataclass
class TowerConfig:
    """`optimizer.groups.tower`: what differs for the visual tower; null leaves it as it is."""

    # sgd (published) or adamw; of the optimizer clipvil_adamw_sgd alone.
    algorithm: str | None = None
    # Learning rate.
    lr: float | None = None
    # Weight decay of all its parameters, biases and norms as well. SGD's is coupled.
    weight_decay: float | None = None
    # SGD's momentum.
    momentum: float | None = None

    def __post_init__(self) -> None:
        if self.algorithm is not None:
            check_choice("algorithm", self.algorithm, ALGORITHMS)
        for key in ("lr", "weight_decay", "momentum"):
            if getattr(self, key) is not None:
                check_at_least(key, getattr(self, key), 0.0)
        if self.momentum and self.algorithm == "adamw":
            raise ConfigError("momentum: adamw has none; set it to null, or algorithm to sgd.")


@dataclass
class GroupsConfig:
    """The section `optimizer.groups` (optional)."""

    # A parameter whose name contains one of these gets no weight decay. As published: the norms
    # that BERT calls LayerNorm do not decay, all others do.
    no_decay: list[str] = field(default_factory=lambda: ["bias", "LayerNorm.weight"])
    # Makes the visual tower a group of its own (a TowerConfig); null trains it like all else.
    tower: Any = None

    def __post_init__(self) -> None:
        if self.tower is not None:
            self.tower = from_config(TowerConfig, self.tower, "tower")


def parameter_groups(
    model: nn.Module, tower: Iterable[nn.Parameter], config: GroupsConfig
) -> list[dict[str, Any]]:
    """Sort the trainable parameters of a model into groups by name (`ConfigError`: none is).

    Returns:
        Groups for a torch optimizer, each with its `name`: `decay` (the optimizer's own
        `weight_decay`), `no_decay` and `tower`. A group without parameters is left out.
    """
    apart = set(tower) if config.tower is not None else set()
    members: dict[str, list[nn.Parameter]] = {DECAY: [], NO_DECAY: [], TOWER: []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = not any(part in name for part in config.no_decay)
        group = TOWER if parameter in apart else DECAY if decays else NO_DECAY
        members[group].append(parameter)
    for part in config.no_decay:
        if not any(part in name for name, _ in model.named_parameters()):
            logger.warning("optimizer.groups.no_decay: %r is in the name of no parameter", part)
    if not any(members.values()):
        raise ConfigError("model_config.clipvil: every parameter is frozen, nothing can learn.")
    options: dict[str, dict[str, Any]] = {DECAY: {}, NO_DECAY: {"weight_decay": 0.0}, TOWER: {}}
    if config.tower is not None:
        given = vars(config.tower).items()
        options[TOWER] = {key: value for key, value in given if value is not None}
    return [
        {"params": parameters, "name": name, **options[name]}
        for name, parameters in members.items()
        if parameters
    ]
