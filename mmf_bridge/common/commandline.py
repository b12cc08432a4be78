"""Command-line options: ``key=value`` and ``key value`` lists, and what a value means."""

from __future__ import annotations

import warnings
from ast import literal_eval
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from mmf_bridge.common.near import did_you_mean

# Keys of MMF's own yaml files and of its main line that rc7's defaults don't list.
_LEGACY = {
    "max_grad_l2_norm",
    "task_size_proportional_sampling",
    "max_iterations",
    "stdout_capture",
    "snapshot_interval",
    "encoder_lr_multiply",
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
    them itself: there a key that the yaml does not set is added, also to ``params: null``.

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
            if "params" in walked:
                section[name] = None if last else {}
            elif name == "params" and name in section and not last:
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


def check_keys(user: Mapping[str, Any], default: Mapping[str, Any]) -> None:
    """Raise a ``ValueError`` for misspelt keys in the sections that MMF's defaults describe.

    Any other key that MMF does not know may belong to a plugin, and gets a warning.
    """
    for name in ("training", "checkpoint", "evaluation", "distributed", "env"):
        section, known = user.get(name), default.get(name)
        for key in section if isinstance(section, Mapping) and known is not None else ():
            if key in known or key in _LEGACY:
                continue
            hint = did_you_mean(key, known, f"{name}.", cutoff=0.85)
            if hint:
                raise ValueError(f"Unknown key {name}.{key}.{hint}")
            warnings.warn(f"{name}.{key} is no key of MMF's; it has no effect there", stacklevel=2)
