"""The fields of a dataclass as its source has them: comments, choices, places."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from clipvil_mmf.config import check_at_least, check_choice, check_probability

NO_DEFAULT = dataclasses.MISSING


@dataclass(frozen=True)
class Field:
    """One key of a section."""

    name: str
    description: str  # the comment above it, '' where the source cannot be read
    type: str  # as annotated, null for None: int | null
    default: Any  # NO_DEFAULT where it is required
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    below: float | None = None
    place: tuple[str, int] = ("", 0)  # file and line


@cache
def fields_of(cls: type) -> dict[str, Field]:
    """The fields of a dataclass by name; those of its bases have their comments there."""
    found: dict[str, Field] = {}
    limits: dict[str, dict[str, Any]] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        source = _source(base)
        if source is not None:
            limits |= dict(_limits(source[0], base))
        comments = {} if source is None else dict(_comments(*source))
        for field in dataclasses.fields(base):
            own = field.name in inspect.get_annotations(base)
            former = found.get(field.name)
            if former is not None and not own:
                continue
            text, line = comments.get(field.name, ("", 0))
            found[field.name] = Field(
                name=field.name,
                description=text or (former.description if former else ""),
                type=str(field.type).replace("None", "null"),
                default=_default(field),
                place=(inspect.getfile(base) if line else "", line),
            )
    named = {field.name for field in dataclasses.fields(cls)}
    return {
        name: dataclasses.replace(field, **limits.get(name, {}))
        for name, field in found.items()
        if name in named
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _source(cls: type) -> tuple[ast.ClassDef, list[str], int] | None:
    """A class as its syntax tree, its lines and the line before them; None where it has none."""
    try:
        lines, first = inspect.getsourcelines(cls)
    except (OSError, TypeError):
        return None
    text = textwrap.dedent("".join(lines))
    (tree,) = ast.parse(text).body
    return tree, text.splitlines(), first - 1


def _comments(
    tree: ast.ClassDef, lines: list[str], before: int
) -> Iterator[tuple[str, tuple[str, int]]]:
    """(field, (comment, line)); fields one after the other share the comment above the first."""
    comment = ""
    for node in tree.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above = node.lineno - 1
        while lines[above - 1].strip().startswith("#"):
            above -= 1
        block = lines[above : node.lineno - 1]
        if block:
            comment = " ".join(line.strip().removeprefix("#").strip() for line in block)
        elif not lines[node.lineno - 2].strip():
            comment = ""
        yield node.target.id, (comment, before + node.lineno)


def _limits(tree: ast.ClassDef, cls: type) -> Iterator[tuple[str, dict[str, Any]]]:
    """(field, its limits), as the checks in `__post_init__` say them."""
    for method in tree.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__post_init__":
            for call, names in _calls(method):
                limit = _limit(call, cls)
                # Of two checks of a field the second may say nothing that is kept here.
                yield from ((name, limit) for name in names if limit)


def _calls(method: ast.FunctionDef) -> Iterator[tuple[ast.Call, list[str]]]:
    """The checks of a method, and the fields that each is of, in a loop over their names too."""
    loops = {
        node.target.id: [part.value for part in node.iter.elts if isinstance(part, ast.Constant)]
        for node in ast.walk(method)
        if isinstance(node, ast.For)
        and isinstance(node.target, ast.Name)
        and isinstance(node.iter, ast.Tuple)
    }
    for node in ast.walk(method):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
            continue
        key = node.args[0]
        if isinstance(key, ast.Constant):
            yield node, [key.value]
        elif isinstance(key, ast.Name):
            yield node, loops.get(key.id, [])


def _limit(call: ast.Call, cls: type) -> dict[str, Any]:
    name = call.func.id  # type: ignore[attr-defined]
    if name == check_probability.__name__:
        return {"at_least": 0, "below": 1}
    value = _constant(call.args[2], cls) if len(call.args) > 2 else None
    if value is None:
        return {}
    if name == check_choice.__name__:
        return {"choices": tuple(value)}
    return {"at_least": value} if name == check_at_least.__name__ else {}


def _constant(node: ast.expr, cls: type) -> Any:
    """A literal, or a constant of the class's module; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(_constant(part, cls) for part in node.elts)
    if isinstance(node, ast.Name):
        return getattr(sys.modules[cls.__module__], node.id, None)
    return None
