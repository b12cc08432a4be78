"""How our names and published ones belong together: tables, and what they say of a key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

# Under LoRA, a matrix lies in a module of peft beside its low-rank factors.
_BASE_LAYER = ".base_layer."


def plain_name(ours: str) -> str:
    """The name that a parameter has without LoRA."""
    return ours.replace(_BASE_LAYER, ".")


@dataclass(frozen=True)
class NameTable:
    """The names of one architecture; they read both ways.

    Args:
        names: our prefix -> published prefix; ``{}`` stands for a number on both sides.
        unused: published prefix -> why no parameter of ours takes it.
    """

    names: Mapping[str, str]
    unused: Mapping[str, str]

    def published(self, ours: str) -> str:
        """The published key of one of our parameters or buffers.

        A matrix under LoRA has the key that it has without.

        Raises:
            KeyError: the published models have no counterpart.
        """
        translated = _translate(self._to_published, plain_name(ours))
        if translated is None:
            raise KeyError(ours)
        return translated

    def ours(self, published: str) -> str | None:
        """Our name of a published key, None where the table has none."""
        return _translate(self._to_ours, published)

    def why_unused(self, published: str) -> str | None:
        """Why we have no counterpart to a published key, None where the table does not say."""
        return next(
            (why for prefix, why in self.unused.items() if published.startswith(prefix)), None
        )

    @cached_property
    def _to_published(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_pattern(ours), theirs) for ours, theirs in self.names.items()]

    @cached_property
    def _to_ours(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_pattern(theirs), ours) for ours, theirs in self.names.items()]


def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(re.escape(prefix).replace(r"\{\}", r"(\d+)"))


def _translate(rules: list[tuple[re.Pattern[str], str]], name: str) -> str | None:
    for pattern, target in rules:
        match = pattern.match(name)
        if match:
            return target.format(*match.groups()) + name[match.end() :]
    return None
