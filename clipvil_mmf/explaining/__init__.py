"""Where a model looked: maps of an answer, and of each word of the question, over the photo.

A method is a file of this package with a function and a line in ``METHODS``. It gets one forward
pass (:class:`ForwardPass`) and gives what each cell of the grid is to the text tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from clipvil_mmf.config import near_matches
from clipvil_mmf.explaining.explanation import Explanation, forward_pass, make_explanation
from clipvil_mmf.explaining.grad_cam import grad_cam
from clipvil_mmf.explaining.method import Attended, ExplainError, ForwardPass
from clipvil_mmf.explaining.photo import Photo, Seen
from clipvil_mmf.explaining.relevance import relevance
from clipvil_mmf.explaining.rollout import rollout
from clipvil_mmf.registry import Registry

# Name -> a function: a pass -> (P, T, N) float32, none negative, for each text token; or (P, 1, N)
# for the answer alone. The first that fits a model is its default.
METHODS: Registry[Callable[[ForwardPass], Tensor]] = Registry(
    "method of maps", {"relevance": relevance, "rollout": rollout, "grad_cam": grad_cam}
)


def check_method(name: str) -> None:
    """Raise an :class:`ExplainError` unless it is the name of a method."""
    if name not in METHODS:
        near = near_matches(name, METHODS)
        raise ExplainError(f"explain: unknown method {name!r}.{near} Choices: {', '.join(METHODS)}")


def cells_of(forward: ForwardPass, method: str | None) -> tuple[str, Tensor]:
    """The name of a method, None for the first that fits, and what it gives of a pass.

    Raises:
        ExplainError: it does not fit the model, or none does.
    """
    reasons = []
    for name in METHODS if method is None else [method]:
        try:
            return name, METHODS[name](forward)
        except ExplainError as error:
            reasons.append(error)
    raise reasons[0]


def fitting_methods(forward: ForwardPass) -> tuple[str, ...]:
    """The names of the methods that fit the model of a pass."""

    def fits(name: str) -> bool:
        try:
            METHODS[name](forward)
        except ExplainError:
            return False
        return True

    return tuple(filter(fits, METHODS))


__all__ = [
    "METHODS",
    "Attended",
    "ExplainError",
    "Explanation",
    "ForwardPass",
    "Photo",
    "Seen",
    "cells_of",
    "check_method",
    "fitting_methods",
    "forward_pass",
    "make_explanation",
]
