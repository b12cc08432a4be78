"""Sections of a yaml file become dataclasses; what is wrong is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import OmegaConf

from clipvil_mmf.config import ConfigError, build, check_choice, from_config
from clipvil_mmf.registry import Registry


@dataclass
class Example:
    depth: int
    rate: float = 0.1
    mode: str = "fast"
    name: str | None = None
    extra: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, ("fast", "exact"))


@dataclass
class Names:
    names: list[str] | None = None


@dataclass
class Nothing:
    pass


class Component:
    def __init__(self, config: Example, width: int) -> None:
        self.config, self.width = config, width


def test_values_and_defaults() -> None:
    parsed = from_config(Example, {"depth": 3, "extra": {"a": [1, 2]}}, "x")
    assert parsed == Example(depth=3, extra={"a": [1, 2]})
    assert from_config(Example, parsed, "x") is parsed


def test_omegaconf_nodes_are_resolved() -> None:
    node = OmegaConf.create({"size": 4, "params": {"depth": "${size}", "name": None}})
    assert from_config(Example, node.params, "x").depth == 4


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"depth": 1, "rtae": 1}, r"x\.rtae: unknown key\. Did you mean 'rate'\? Choices: depth, "),
        ({"depth": "deep"}, r"x\.depth: got 'deep' \(str\), expected int"),
        ({"depth": None}, r"x\.depth: got None"),
        ({}, r"x\.depth: missing"),
        (None, r"x\.depth: missing"),
        ({"depth": 1, "mode": "exat"}, r"x\.mode: unknown value 'exat'\. Did you mean 'exact'\?"),
        ([1], r"x: expected a mapping of keys, got \[1\]"),
    ],
)
def test_errors_name_the_key(params: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_config(Example, params, "x")


def test_a_list_of_a_command_line_has_quotes() -> None:
    with pytest.raises(ConfigError, match=r"x\.names: got '\[a,b\]'.*\"KEY=\['a', 'b'\]\""):
        from_config(Names, {"names": "[a,b]"}, "x")


def test_no_keys_are_expected() -> None:
    with pytest.raises(ConfigError, match=r"x\.a: unknown key\. No keys are expected here\."):
        from_config(Nothing, {"a": 1}, "x")


REGISTRY = Registry("component", {"component": (Example, Component)})


def test_an_unknown_type_may_be_of_a_package_that_is_not_imported() -> None:
    with pytest.raises(ConfigError, match=r"part\.type: unknown value 'own'.*--user-dir PACKAGE"):
        build(REGISTRY, {"type": "own"}, "part")


def test_build_by_type() -> None:
    built = build(REGISTRY, {"type": "component", "params": {"depth": 2}}, "part", 7)
    assert (built.config.depth, built.width) == (2, 7)
    for section, message in [
        (
            {"type": "componnt"},
            r"part\.type: unknown value 'componnt'\. Did you mean 'component'\?",
        ),
        ({"params": {}}, r"part\.type: missing\. Choices: component"),
        ({"type": "component", "parms": {}}, r"part\.parms: unknown key\. Did you mean 'params'\?"),
        ({"type": "component", "params": {"dept": 1}}, r"part\.params\.dept: unknown key"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build(REGISTRY, section, "part", 7)
