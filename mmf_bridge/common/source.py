"""Small edits to long methods of MMF, made on their source text, where a copy would hide them."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any


def edited(function: Callable[..., Any], edits: dict[str, str]) -> Callable[..., Any]:
    """Returns a function or method compiled anew from its source with each old text replaced.

    Line numbers are kept if the edits keep the number of lines, so tracebacks point into MMF.

    Raises:
        LookupError: an old text does not occur.
        ValueError: the function needs an enclosing scope, also for `super()` without arguments.
    """
    if function.__code__.co_freevars:
        raise ValueError(
            f"{function.__qualname__} uses {', '.join(function.__code__.co_freevars)} of an "
            "enclosing scope and cannot be compiled alone."
        )
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in edits.items():
        if old not in source:
            raise LookupError(
                f"{function.__qualname__} in {function.__module__} has no {old!r}: this MMF is not "
                "the one that the edit was written for."
            )
        source = source.replace(old, new)
    first_line = function.__code__.co_firstlineno
    code = compile("\n" * (first_line - 1) + source, function.__code__.co_filename, "exec")
    scope: dict[str, Any] = {}
    exec(code, sys.modules[function.__module__].__dict__, scope)
    result = scope[function.__name__]
    result.__qualname__ = function.__qualname__
    return result
