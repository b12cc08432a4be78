"""A configuration as yaml whose comments say where values come from and what keys mean."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

import yaml

from clipvil_mmf.describing.keys import Key

_WIDTH = 100
_UNBROKEN = "\u00a0"
_COLUMN = 44  # where places begin, if a value leaves room


def as_yaml(keys: Sequence[Key], docs: bool = False) -> str:
    """The keys as a yaml file that ``mmf_run`` takes, each with its place as a comment.

    Args:
        keys: in the order of their sections.
        docs: put what each key means above it.
    """
    return "".join(f"{line}\n" for line in _lines(keys, docs))


def _lines(keys: Sequence[Key], docs: bool) -> Iterator[str]:
    open_parts: list[str] = []
    for key in keys:
        parts = re.findall(r"[^.\[\]]+|\[\d+\]", key.key)
        shared = 0
        while shared < min(len(parts), len(open_parts)) and parts[shared] == open_parts[shared]:
            shared += 1
        dash = ""
        for depth in range(shared, len(parts) - 1):
            if parts[depth].startswith("["):
                dash = "- "
            else:
                yield f"{_indent(parts[:depth], dash)}{parts[depth]}:"
                dash = ""
        if docs:
            yield from _comment(key, _indent(parts[:-1]))
        value = yaml.safe_dump(key.value, default_flow_style=True, width=float("inf"))
        value = value.removesuffix("...\n").strip()
        line = f"{_indent(parts[:-1], dash)}{parts[-1]}: {value}"
        yield f"{line:{_COLUMN}}  # {key.source}" if key.source else line
        open_parts = parts


def _indent(parts: Sequence[str], dash: str = "") -> str:
    """An entry of a list is as deep as its list, and begins with a dash."""
    return "  " * (len(parts) - (1 if dash else 0)) + dash


def _comment(key: Key, indent: str) -> Iterator[str]:
    lead = f"{indent}# "
    what = allowed(key).replace(" ", _UNBROKEN)
    for line in textwrap.wrap(
        f"{key.description} [{what}]".strip(),
        width=_WIDTH,
        initial_indent=lead,
        subsequent_indent=lead,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        yield line.replace(_UNBROKEN, " ")


def allowed(key: Key) -> str:
    """The values that a key may have, in words."""
    words = " | ".join(key.choices) if key.choices else key.type
    if key.choices and "null" in key.type.split(" | "):
        words += " | null"
    if key.at_least is not None:
        words += f", at least {key.at_least:g}"
    if key.below is not None:
        words += f", below {key.below:g}"
    return words
