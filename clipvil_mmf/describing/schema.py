"""The JSON schema of yaml files, for editors: completion, descriptions, misspelt keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import clipvil_mmf.plugin  # noqa: F401  what it registers is in the schema
from clipvil_mmf.data.builder import ClipVilBuilder
from clipvil_mmf.describing.fields import NO_DEFAULT, Field, fields_of
from clipvil_mmf.describing.keys import mmf_defaults, naming
from clipvil_mmf.describing.sections import Section, root
from mmf_bridge.common.key_descriptions import DESCRIPTIONS, description
from mmf_bridge.common.option_values import SECTIONS, expected

Schema = dict[str, Any]

# A value such as ${env.data_dir} may stand for any other.
_INTERPOLATION = {"$ref": "#/definitions/interpolation"}
_TYPES = {
    **{"str": "string", "int": "integer", "float": "number", "bool": "boolean", "null": "null"},
    **{"list": "array", "section": "object", "dict[str, Any]": "object"},
}


def json_schema() -> Schema:
    """The schema (draft 7) of the files that ``mmf_run config=FILE`` takes, and of their parts.

    Components and datasets of an imported package of one's own are in it.
    """
    whole = root(dict(sorted(_datasets(ClipVilBuilder))))
    ours = whole.inside
    definitions = {_name(cls): _of_class(cls, section) for cls, section in _classes(whole)}
    names = [name for name in DESCRIPTIONS if "." not in name]
    top: Schema = {name: {"description": DESCRIPTIONS[name]} for name in names}
    defaults = mmf_defaults()
    for name in SECTIONS:
        top[name] |= _of_mmf(name, defaults[name])
    top["includes"] |= {"type": "array", "items": {"type": "string"}}
    top["optimizer"]["properties"] = {
        **_described("optimizer"),
        "groups": _of_section(ours["optimizer"].inside["groups"]),
    }
    top["scheduler"] |= _of_section(ours["scheduler"])
    top["scheduler"]["properties"] = _described("scheduler")
    clipvil = _of_section(ours["model_config"].inside["clipvil"])
    top["model_config"]["properties"] = {"clipvil": clipvil}
    top["prediction"] = _of_section(ours["prediction"])
    datasets = {n: _of_section(part) for n, part in ours["dataset_config"].inside.items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A configuration of mmf_run with clipvil_mmf",
        "type": "object",
        "properties": top,
        "additionalProperties": False,
        # Some of MMF's datasets have the names of ours; other models read those.
        "if": {"properties": {"model": {"const": "clipvil"}}},
        "then": {"properties": {"dataset_config": {"properties": datasets}}},
        "definitions": {"interpolation": {"type": "string", "pattern": r"\$\{"}, **definitions},
    }


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _classes(section: Section) -> Iterator[tuple[type, Section]]:
    """Every dataclass of a section and of those in it."""
    for cls in section.classes:
        yield cls, section
    for part in (*section.inside.values(), *section.params.values()):
        yield from _classes(part)


def _datasets(builder: type[ClipVilBuilder]) -> Iterator[tuple[str, type]]:
    for kind in builder.__subclasses__():
        if kind.name:
            yield kind.name, kind.params_class
        yield from _datasets(kind)


def _described(section: str) -> Schema:
    """The keys right below a section that have descriptions."""
    start = f"{section}."
    keys = [name.removeprefix(start) for name in DESCRIPTIONS if name.startswith(start)]
    return {k: {"description": DESCRIPTIONS[start + k]} for k in keys if not set(".*") & set(k)}


def _of_mmf(section: str, default: Mapping[str, Any]) -> Schema:
    """One of MMF's sections: the keys of its defaults, and those of its other line."""
    properties = _described(section)
    for name, value in default.items():
        key = f"{section}.{name}"
        if isinstance(value, dict) and value:
            inside = {"description": description(key), **_of_mmf(key, value)}
        else:
            found = expected(key, value)
            inside = _value(description(key), found.type, found.choices, found.at_least)
        properties[name] = inside
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _of_section(section: Section) -> Schema:
    """One of our sections, or a component: its name, and the `params` that this name has."""
    if section.key is None:
        kinds = [{"$ref": f"#/definitions/{_name(cls)}"} for cls in section.classes]
        inside = {name: _of_section(part) for name, part in section.inside.items()}
        keys = {"type": "object", "properties": inside}
        return {"anyOf": kinds} if len(kinds) > 1 else (kinds or [keys])[0]
    key, params = section.key, {n: _of_section(part) for n, part in section.params.items()}
    branches = [_if({"const": name}, key, part) for name, part in params.items()]
    if section.others:
        return {"allOf": branches}
    unnamed = {"not": {"required": [key]}}
    either = {"properties": {"params": _nullable({"anyOf": list(params.values())})}}
    return {
        "type": "object",
        "properties": {key: _of_field(naming(section, None)), "params": {}},
        "additionalProperties": False,
        "allOf": [*branches, {"if": unnamed, "then": either}],
    }


def _if(value: Schema, key: str, params: Schema) -> Schema:
    named = {"properties": {key: value}, "required": [key]}
    return {"if": named, "then": {"properties": {"params": _nullable(params)}}}


def _of_class(cls: type, section: Section) -> Schema:
    properties = {name: _of_field(field) for name, field in fields_of(cls).items()}
    for name, part in section.inside.items():
        # A tower stands in one of the encoders alone, a task or features may be a name or null.
        if name in properties:
            text = properties[name].get("description", "")
            inside = {"if": {"type": "object"}, "then": _of_section(part)}
            properties[name] = {"description": text, **inside}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _of_field(field: Field) -> Schema:
    # What has no default may be null in a file whose options give it.
    types = f"{field.type} | null" if field.default is NO_DEFAULT else field.type
    return _value(field.description, types, field.choices, field.at_least, field.below)


def _value(
    text: str,
    types: str,
    choices: tuple[str, ...] = (),
    at_least: float | None = None,
    below: float | None = None,
) -> Schema:
    """A value of these types (``int | null``), or an interpolation."""
    parts = types.split(" | ")
    found = {"description": text} if text else {}
    if "Any" in parts or "any" in parts:
        return found
    limits = {"minimum": at_least, "exclusiveMaximum": below}
    limits = {name: limit for name, limit in limits.items() if limit is not None}
    allowed = [_plain(part, choices, limits) for part in parts]
    return {**found, "anyOf": [*allowed, _INTERPOLATION]}


def _plain(part: str, choices: tuple[str, ...], limits: Schema) -> Schema:
    if part.startswith("list["):
        item = _plain(part.removeprefix("list[").removesuffix("]"), choices, limits)
        return {"type": "array", "items": item}
    if part not in _TYPES:
        return {} if part == "Any" else {"const": part}
    if part == "str" and choices:
        return {"enum": list(choices)}
    return {"type": _TYPES[part], **(limits if part in ("int", "float") else {})}


def _nullable(part: Schema) -> Schema:
    return {"anyOf": [part, {"type": "null"}]}
