"""Command-line options: ``key=value`` and ``key value`` lists, and what a value means."""

from __future__ import annotations

import warnings
from ast import literal_eval
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from mmf_bridge.common.key_descriptions import DESCRIPTIONS
from mmf_bridge.common.near import did_you_mean

# Sections whose keys are passed on to others, which check them.
_OPEN = ("model_config", "dataset_config", "optimizer", "scheduler", "training.wandb", "trainer")
# Keys that are true, false or a section.
_SWITCHES = ("training.compile",)
# Keys of MMF's own yaml files that its defaults lack, and those that it moves to where they belong.
_SILENT = {
    "max_grad_l2_norm",
    "task_size_proportional_sampling",
    "max_iterations",
    "stdout_capture",
    "snapshot_interval",
    "encoder_lr_multiply",
    *("resume", "resume_file", "resume_best", "load_pretrained", "pretrained_state_mapping"),
    "run_type",
}
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def decode_value(value: Any) -> Any:
    """Turn an option's text into a Python value: a literal's, else the text that it is.

    ``true``, ``false``, ``null`` and ``none`` count in any case: stock MMF keeps ``'true'`` as
    text, so that ``checkpoint.resume=true`` silently does nothing.
    """
    if not isinstance(value, str):
        return value
    if value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    try:
        return literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def option_pairs(opts: Sequence[str] | None) -> list[tuple[str, str]]:
    """Split options, ``["a=1", "b=x=y"]`` or ``["a", "1", "b", "x=y"]``, into pairs.

    Raises:
        ValueError: an item has no ``=``, or a key of the second form has no value.
    """
    opts = list(opts or [])
    if opts and "=" in opts[0]:
        for opt in opts:
            if "=" not in opt:
                raise ValueError(f"Option {opt!r} has no value: write it as {opt}=VALUE")
        return [tuple(opt.split("=", 1)) for opt in opts]  # type: ignore[misc]
    if len(opts) % 2:
        raise ValueError(f"Option {opts[-1]!r} has no value: write options as KEY=VALUE")
    return list(zip(opts[0::2], opts[1::2], strict=True))


def check_option(config: MutableMapping[str, Any], key: str) -> None:
    """Make sure that a dotted option such as ``training.batch_size`` or ``a.b[0]`` exists.

    A section ``params`` holds the arguments of an optimizer, an encoder and so on, which checks
    them itself: there a key that the yaml does not set is added, also to ``params: null``. So it
    is to a switch that may be a section.

    Raises:
        ValueError: it does not (names the nearest keys of that section), or it is a section, which
            MMF's command line cannot set as a whole (stock MMF ignores the attempt).
    """
    section: Any = config
    walked: list[str] = []
    fields = key.split(".")
    for field in fields:
        name, _, index = field.partition("[")
        last = len(walked) == len(fields) - 1
        if isinstance(section, MutableMapping) and not index and section.get(name) is None:
            if "params" in walked or ".".join(walked) in _SWITCHES:
                section[name] = None if last else {}
            elif name == "params" and name in section and not last:
                section[name] = {}
        is_switch = ".".join([*walked, name]) in _SWITCHES
        if is_switch and not last and not isinstance(section[name], Mapping):
            section[name] = {}
        if not isinstance(section, Mapping) or name not in section:
            choices = [str(c) for c in section] if isinstance(section, Mapping) else []
            where = ".".join(walked) or "the configuration"
            prefix = "".join(f"{field}." for field in walked)
            hint = did_you_mean(name, choices, prefix) or f" Its keys: {', '.join(choices)}"
            raise ValueError(f"Unknown option {key}: {where} has no key {name!r}.{hint}")
        section = section[name]
        if index:
            section = section[int(index.rstrip("]"))]
        walked.append(field)
    if isinstance(section, Mapping):
        raise ValueError(
            f"Option {key} is a section: set its keys one by one, such as {key}.KEY=VALUE, or "
            "write it into a yaml file"
        )


def check_keys(
    user: Mapping[str, Any], default: Mapping[str, Any], declared: Mapping[str, Any]
) -> None:
    """Refuse the keys of a yaml file that nobody has, with the nearest one that somebody has.

    The sections of models, datasets, the optimizer and the scheduler are checked by these.

    Args:
        user: the yaml file.
        default: MMF's defaults, with the keys that the bridge adds.
        declared: the defaults of the run's model and datasets, where a plugin's own keys stand.

    Raises:
        ValueError: a key that neither MMF, on one of its lines, nor ``declared`` has.
    """
    _check_section(user, default, declared, "")


def _check_section(
    user: Mapping[str, Any], default: Mapping[str, Any], declared: Mapping[str, Any], prefix: str
) -> None:
    listed = [key.removeprefix(prefix) for key in DESCRIPTIONS if key.startswith(prefix)]
    described = {key for key in listed if "." not in key and "*" not in key}
    known = {*map(str, default), *described, *map(str, declared)}
    for key in user:
        if key not in known:
            near = did_you_mean(key, known, prefix) or f" Its keys: {', '.join(sorted(known))}."
            raise ValueError(
                f"Unknown key {prefix}{key}.{near} A plugin's own key stands in the yaml file of "
                "its model's or dataset's defaults, too"
            )
        if key not in default and key not in declared and prefix and key not in _SILENT:
            warnings.warn(f"{prefix}{key} has no effect on this line of MMF", stacklevel=2)
        inside, theirs = default.get(key), declared.get(key)
        # A default of {} is a section of any keys.
        is_section = isinstance(user[key], Mapping) and isinstance(inside, Mapping) and inside
        if is_section and f"{prefix}{key}" not in _OPEN:
            theirs = theirs if isinstance(theirs, Mapping) else {}
            _check_section(user[key], inside, theirs, f"{prefix}{key}.")
