"""Which parameter is trained how."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.optim import GroupsConfig, parameter_groups


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
        self.projection = nn.Linear(1, 1)
        self.norm = nn.LayerNorm(1)
        self.LayerNorm = nn.LayerNorm(1)


def names_of(model: Model, config: GroupsConfig | None = None) -> dict[str, list[str]]:
    names = {id(value): name for name, value in model.named_parameters()}
    groups = parameter_groups(model, model.tower.parameters(), config or GroupsConfig())
    return {group["name"]: [names[id(value)] for value in group["params"]] for group in groups}


TOWER = ["tower.0.weight", "tower.0.bias", "tower.1.weight", "tower.1.bias"]


def test_without_a_tower_group_names_alone_decide() -> None:
    assert names_of(Model()) == {
        "decay": ["tower.0.weight", "tower.1.weight", "projection.weight", "norm.weight"],
        "no_decay": [
            *("tower.0.bias", "tower.1.bias", "projection.bias"),
            *("norm.bias", "LayerNorm.weight", "LayerNorm.bias"),
        ],
    }


def test_the_tower_is_a_group_of_its_own() -> None:
    groups = names_of(Model(), GroupsConfig(tower={"lr": 0.1}))
    assert groups["tower"] == TOWER
    assert not [
        name for group in ("decay", "no_decay") for name in groups[group] if "tower" in name
    ]


def test_a_frozen_parameter_is_in_no_group() -> None:
    model = Model()
    model.tower.requires_grad_(False)
    model.norm.weight.requires_grad_(False)
    groups = names_of(model, GroupsConfig(tower={"lr": 0.1}))
    assert groups.keys() == {"decay", "no_decay"}  # no empty group: torch refuses to step one
    assert groups["decay"] == ["projection.weight"]


def test_groups_carry_only_what_differs() -> None:
    model = Model()
    config = GroupsConfig(tower={"algorithm": "sgd", "lr": 0.1, "momentum": 0.0})
    options = [
        {key: value for key, value in group.items() if key != "params"}
        for group in parameter_groups(model, model.tower.parameters(), config)
    ]
    assert options == [
        {"name": "decay"},
        {"name": "no_decay", "weight_decay": 0.0},
        {"name": "tower", "algorithm": "sgd", "lr": 0.1, "momentum": 0.0},
    ]


def test_everything_may_decay() -> None:
    assert names_of(Model(), GroupsConfig(no_decay=[])).keys() == {"decay"}


def test_nothing_trainable_is_an_error() -> None:
    with pytest.raises(ConfigError, match="every parameter is frozen"):
        names_of(Model().requires_grad_(False))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"no_dekay": []}, r"optimizer\.groups\.no_dekay: unknown key\. Did you mean 'no_decay'"),
        ({"tower": {"lrr": 1}}, r"optimizer\.groups\.tower\.lrr: unknown key\. Did you mean 'lr'"),
        ({"tower": {"algorithm": "sdg"}}, r"groups\.tower\.algorithm: unknown value 'sdg'.*'sgd'"),
        ({"tower": {"lr": -1.0}}, r"groups\.tower\.lr: got -1\.0, expected at least 0"),
        ({"tower": 3}, r"groups\.tower: expected a mapping of keys, got 3"),
    ],
)
def test_a_bad_section_is_one_clear_error(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_config(GroupsConfig, section, "optimizer.groups")
