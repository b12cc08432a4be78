"""The keys in effect: what a configuration sets, and the defaults of what it does not."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmf.common.registry import registry
from mmf.utils import configuration
from omegaconf import OmegaConf
from torch import optim

from clipvil_mmf.describing.fields import NO_DEFAULT, Field, fields_of
from clipvil_mmf.describing.sections import Section, root
from clipvil_mmf.paths import config_dir
from mmf_bridge.common.key_descriptions import description
from mmf_bridge.common.option_values import SECTIONS, expected
from mmf_bridge.common.yaml_layers import Layer, layers_of, source


@dataclass(frozen=True)
class Key:
    """One key in effect."""

    key: str  # dotted, such as model_config.clipvil.losses[0].type
    value: Any
    source: str  # where the value stands: FILE:LINE, the command line, a default
    description: str = ""
    type: str = ""
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    below: float | None = None


def keys_in_effect(config: Any, options: Sequence[str]) -> list[Key]:
    """Every key of a run's configuration.

    Args:
        config: as MMF has merged it.
        options: those of the command line, ``config=FILE`` among them.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    fields: dict[str, Field] = {}
    if plain["model"] == "clipvil":
        _fill(plain, root(_datasets_of_ours(plain)), "", fields)
    _fill_optimizer(plain, fields)
    layers = layers_of(config, options)
    defaults = dict(leaves(mmf_defaults()))
    return [_key(name, value, layers, fields, defaults) for name, value in leaves(plain)]


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a run's configuration with the defaults of our sections that it does not give."""
    plain = deepcopy(dict(config))
    _fill(plain, root(_datasets_of_ours(plain)), "", {})
    return plain


def mmf_defaults() -> dict[str, Any]:
    """MMF's defaults with the keys that the bridge adds, interpolations as they are."""
    return OmegaConf.to_container(configuration.load_yaml(configuration.get_default_config_path()))


def leaves(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of a section; an empty section is a value, and so is a plain list."""
    if isinstance(section, dict) and section:
        for name, value in section.items():
            yield from leaves(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(section, list) and any(isinstance(entry, dict) for entry in section):
        for index, entry in enumerate(section):
            yield from leaves(entry, f"{prefix}[{index}]")
    else:
        yield prefix, section


def _datasets_of_ours(plain: Mapping[str, Any]) -> dict[str, type]:
    names = str(plain.get("datasets") or plain.get("dataset")).split(",")
    builders = {name: registry.get_builder_class(name) for name in names}
    classes = {name: getattr(kind, "params_class", None) for name, kind in builders.items()}
    return {name: cls for name, cls in classes.items() if cls is not None}


def _fill(given: dict[str, Any], section: Section, prefix: str, fields: dict[str, Field]) -> None:
    """Add the defaults that a section does not give, and gather the fields of its keys."""
    cls = section.class_of(given)
    for name, known in (fields_of(cls) if cls else {}).items():
        fields[prefix + name] = known
        if known.default is not NO_DEFAULT:
            given.setdefault(name, section.defaults.get(name, known.default))
    component = given.get(section.key) if section.key else None
    if component in section.params:
        if not section.others:
            fields[f"{prefix}{section.key}"] = naming(section, fields.get(prefix.rstrip(".")))
        given["params"] = given.get("params") or {}
        _fill(given["params"], section.params[component], f"{prefix}params.", fields)
    for name, inside in section.inside.items():
        if inside.always:
            given.setdefault(name, {})
        if isinstance(given.get(name), dict):
            _fill(given[name], inside, f"{prefix}{name}.", fields)


def naming(section: Section, field: Field | None) -> Field:
    """The key that names a section's component; its description is that of the section's field."""
    text = "" if field is None else field.description
    return Field(str(section.key), text, "str", NO_DEFAULT, tuple(section.params))


def _fill_optimizer(plain: dict[str, Any], fields: dict[str, Field]) -> None:
    """Add the defaults of the optimizer's arguments."""
    section = plain.get("optimizer") or {}
    cls = registry.get_optimizer_class(section.get("type")) or getattr(
        optim, str(section.get("type")), None
    )
    if cls is None or not isinstance(section.get("params"), dict):
        return
    for name, argument in inspect.signature(cls).parameters.items():
        if argument.default is not inspect.Parameter.empty:
            default = argument.default
            default = list(default) if isinstance(default, tuple) else default
            section["params"].setdefault(name, default)
            key = f"optimizer.params.{name}"
            fields[key] = Field(
                name, description(key), "", default, place=(f"default of {cls.__name__}", 0)
            )


def _key(
    name: str,
    value: Any,
    layers: Sequence[Layer],
    fields: Mapping[str, Field],
    defaults: Mapping[str, Any],
) -> Key:
    place = source(layers, name)
    known = fields.get(name)
    if place is None and known is not None:
        place = known.place
    where = "" if place is None else _shown(*place)
    if known is not None and place == known.place and known.place[1]:
        where = f"default, {where}"
    if known is not None and known.type:
        limits = (known.choices, known.at_least, known.below)
        text = known.description or description(name)
        return Key(name, value, where, text, _type_in_words(known.type), *limits)
    if name.split(".")[0] in SECTIONS and name in defaults:
        found = expected(name, defaults[name])
        limits = (found.choices, found.at_least)
        return Key(name, value, where, description(name), _type_in_words(found.type), *limits)
    text = description(name) or _of_open_section(name, fields)
    return Key(name, value, where, text, _type_of(value))


def _of_open_section(name: str, fields: Mapping[str, Field]) -> str:
    """The description of the section of any keys that a key is in; '' where it is in none."""
    while "." in name:
        name = name.rpartition(".")[0].split("[")[0]
        if name in fields:
            return fields[name].description
    return ""


_TYPES = {
    **{"Any": "any", "dict[str, Any]": "section", "list[Any]": "list"},
    **{"str": "text", "int": "whole number", "float": "number", "bool": "true | false"},
    **{"list[int]": "list of whole numbers", "list[float]": "list of numbers"},
    "list[str]": "list of texts",
}


def _type_in_words(annotation: str) -> str:
    return " | ".join(_TYPES.get(part, part) for part in annotation.split(" | "))


def _type_of(value: Any) -> str:
    names = {dict: "section", type(None): "any"}
    return names.get(type(value)) or _type_in_words(type(value).__name__)


def _shown(file: str, line: int) -> str:
    """A place, its file relative to what it belongs to or to where one is."""
    if not line:
        return file
    packages = [Path(inspect.getfile(registry.__class__)).parents[2], config_dir().parents[2]]
    for folder in (*packages, Path.cwd()):
        if Path(file).is_relative_to(folder):
            return f"{os.path.relpath(file, folder)}:{line}"
    return f"{file}:{line}"
