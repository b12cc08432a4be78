"""Sections of a yaml file become dataclasses; what is wrong is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from clipvil_mmf.config import (
    ConfigError,
    build,
    check_at_least,
    check_at_most,
    check_choice,
    from_config,
)
from clipvil_mmf.registry import Registry


@dataclass
class Example:
    depth: int
    rate: float = 0.1
    mode: str = "fast"
    name: str | None = None
    exact: bool = False
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
        ({"depth": 10**30}, r"x\.depth: got 100 bits, expected a number of 64 at most"),
        ({"depth": 1, "rate": float("nan")}, r"x\.rate: got nan, expected a finite number"),
        ({"depth": 1, "rate": "inf"}, r"x\.rate: got inf, expected a finite number"),
        ({"depth": 1, "extra": {"a": [1, float("nan")]}}, r"x\.extra\.a: got nan, expected a fini"),
        ({"depth": 1, "exact": 2}, r"x\.exact: got 2 \(int\), expected bool"),
        ({"depth": 1, "exact": -1}, r"x\.exact: got -1 \(int\), expected bool"),
        ({"depth": 1, "mode": []}, r"x\.mode: "),
    ],
)
def test_errors_name_the_key(params: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_config(Example, params, "x")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("no", False), (1, True), (0, False)])
def test_ways_to_write_a_bool(text: Any, value: bool) -> None:
    assert from_config(Example, {"depth": 1, "exact": text}, "x").exact is value


def test_limits_that_nan_does_not_pass() -> None:
    for check in (check_at_least, check_at_most):
        with pytest.raises(ConfigError, match=r"rate: got nan, expected at"):
            check("rate", float("nan"), 0)


def test_sizes_beyond_the_memory_name_their_section() -> None:
    def component(config: Example, width: int) -> Component:
        torch.empty(config.depth, dtype=torch.float32)
        return Component(config, width)

    registry = Registry("component", {"component": (Example, component)})
    for depth in (2**50, 2**62):
        with pytest.raises(ConfigError, match=r"^part\.params: there is not enough memory"):
            build(registry, {"type": "component", "params": {"depth": depth}}, "part", 7)


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
        ({"type": []}, r"part\.type: unknown value \[\]"),
        ({"type": {"a": 1}}, r"part\.type: unknown value"),
        ({"params": {}}, r"part\.type: missing\. Choices: component"),
        ({"type": "component", "parms": {}}, r"part\.parms: unknown key\. Did you mean 'params'\?"),
        ({"type": "component", "params": {"dept": 1}}, r"part\.params\.dept: unknown key"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build(REGISTRY, section, "part", 7)
