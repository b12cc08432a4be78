"""Yaml sections become checked dataclasses; a bad key or value is one error that names it."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from clipvil_mmf.registry import Registry

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration is wrong; the message names the key, what was expected and what to do."""


def near_matches(name: str, choices: Collection[str]) -> str:
    """`" Did you mean 'a' or 'b'?"`, or an empty string when nothing among `choices` is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(by_lower[n]) for n in near)}?" if near else ""


def list_on_command_line(value: Any) -> str:
    """`" On a command line ..."`: how to write the list that a text was to be; or an empty string.

    MMF takes a list whose entries have no quotes for a text.
    """
    if not isinstance(value, str) or not (value.startswith("[") and value.endswith("]")):
        return ""
    entries = [entry.strip() for entry in value[1:-1].split(",")]
    return f' On a command line the entries of a list have quotes: "KEY={entries}".'


def check_keys(where: str, given: Iterable[Any], choices: Collection[str]) -> None:
    """Raise :class:`ConfigError` unless all keys of a section are among `choices`."""
    for key in given:
        if key not in choices:
            known = f"Choices: {', '.join(choices)}" if choices else "No keys are expected here"
            raise ConfigError(
                f"{where}.{key}: unknown key.{near_matches(str(key), choices)} {known}."
            )


def check_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Raise :class:`ConfigError` unless `value` is one of `choices`."""
    if value not in tuple(choices):  # it may be a list
        raise ConfigError(
            f"{key}: unknown value {value!r:.200}.{near_matches(str(value), choices)} "
            f"Choices: {', '.join(choices)}."
        )


def check_at_least(key: str, value: float, least: float) -> None:
    """Raise :class:`ConfigError` unless `value >= least`."""
    if not value >= least:
        raise ConfigError(f"{key}: got {value}, expected at least {least}.")


def check_at_most(key: str, value: float, most: float) -> None:
    """Raise :class:`ConfigError` unless `value <= most`."""
    if not value <= most:
        raise ConfigError(f"{key}: got {value}, expected at most {most}.")


def check_probability(key: str, value: float) -> None:
    """Raise :class:`ConfigError` unless `0 <= value < 1`."""
    if not 0.0 <= value < 1.0:
        raise ConfigError(f"{key}: got {value}, expected a probability in [0, 1).")


def from_config(cls: type[T], params: Mapping[str, Any] | T | None, where: str) -> T:
    """Build the dataclass `cls` from a section of a yaml file.

    Args:
        cls: a dataclass; its fields are the keys that the section may have, its `__post_init__`
            may raise :class:`ConfigError` with the bare field name in front.
        params: the section (a dict or an OmegaConf node), a ready `cls`, or None for the defaults.
        where: dotted place of the section, the prefix of every error.

    Raises:
        ConfigError: the section is not a mapping, has an unknown key, lacks a required one, or a
            value of the wrong type or outside its range.
    """
    # Imported here: commands that read no yaml start without it.
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException, ValidationError

    if isinstance(params, cls):
        return params
    plain = _plain(params, where)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    check_keys(where, plain, fields)
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in plain:
            raise ConfigError(f"{where}.{name}: missing, and it has no default.")
    node = OmegaConf.structured(cls)
    for key, value in plain.items():
        is_other_number = type(value) in (int, float) and value not in (0, 1)
        try:
            if fields[key].type == "bool" and is_other_number:
                raise ValidationError("not a bool")  # OmegaConf takes each but 0 for true
            OmegaConf.update(node, key, value)
        except OmegaConfBaseException as error:
            raise ConfigError(
                f"{where}.{key}: got {value!r:.200} ({type(value).__name__}), "
                f"expected {fields[key].type}."
                f"{list_on_command_line(value) if 'list' in str(fields[key].type) else ''}"
            ) from error
        _check_values(f"{where}.{key}", node[key])
    try:
        return OmegaConf.to_object(node)
    except ConfigError as error:  # it starts with a bare field name
        raise ConfigError(f"{where}.{error}") from error


def build(
    registry: Registry[tuple[type, type[T]]],
    section: Mapping[str, Any] | None,
    where: str,
    *inputs: Any,
    key: str = "type",
) -> T:
    """Build the component that a `{type: ..., params: {...}}` section names.

    Args:
        registry: type name -> (dataclass of its `params`, class built as `cls(config, *inputs)`;
            it may raise :class:`ConfigError` with the bare field name, or `key`, in front).
        section: the section of the yaml file.
        where: dotted place of the section, the prefix of every error.
        *inputs: what the class takes besides its configuration (widths that other parts fix).
        key: the section's own word for `type`.

    Raises:
        ConfigError: no `type`, an unknown one (the choices are listed), bad `params`, or a
            component that lacks an attribute.
    """
    plain = _plain(section, where)
    check_keys(where, plain, (key, "params"))
    if key not in plain:
        raise ConfigError(f"{where}.{key}: missing. Choices: {', '.join(registry)}.")
    if plain[key] not in tuple(registry):  # it may be a list
        raise ConfigError(
            f"{where}.{key}: unknown value {plain[key]!r:.200}."
            f"{near_matches(str(plain[key]), registry)} Choices: {', '.join(registry)}. One of a "
            "package of your own is known once that is imported: env.user_dir=PACKAGE for mmf_run, "
            "--user-dir PACKAGE for clipvil, `import PACKAGE` in Python."
        )
    config_class, component_class = registry[plain[key]]
    config = from_config(config_class, plain.get("params"), f"{where}.params")
    try:
        component = component_class(config, *inputs)
    except ConfigError as error:
        # The component as such may not suit its inputs, or one of its params.
        place = where if str(error).startswith(f"{key}:") else f"{where}.params"
        raise ConfigError(f"{place}.{error}") from error
    except (MemoryError, RuntimeError) as error:
        if not any(word in str(error) for word in ("alloc", "overflow")):
            raise
        raise ConfigError(
            f"{where}.params: there is not enough memory ({str(error).splitlines()[0]}). Make its "
            "sizes smaller."
        ) from error
    registry.check(plain[key], component)
    return component


def _check_values(key: str, value: Any) -> None:
    """Raise :class:`ConfigError` for numbers that are infinite, NaN, or beyond 64 bits, and for
    texts that no file can have as its name.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_values(f"{key}.{name}", inner)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for inner in value:
            _check_values(key, inner)
    elif isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{key}: got {value!r:.200}, which has a null character.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key}: got {value}, expected a finite number.")
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise ConfigError(f"{key}: got {value.bit_length()} bits, expected a number of 64 at most.")


def _plain(section: Any, where: str) -> dict[str, Any]:
    """A section as a plain dict, interpolations resolved."""
    from omegaconf import DictConfig, OmegaConf

    if section is None:
        return {}
    if isinstance(section, DictConfig):
        section = OmegaConf.to_container(section, resolve=True)
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: expected a mapping of keys, got {section!r:.200}.")
    return dict(section)
