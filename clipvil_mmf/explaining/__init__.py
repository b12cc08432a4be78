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
# for the answer alone.
METHODS: Registry[Callable[[ForwardPass], Tensor]] = Registry(
    "method of maps", {"relevance": relevance, "rollout": rollout, "grad_cam": grad_cam}
)
DEFAULT = "relevance"


def find_method(name: str | bool) -> str:
    """The name of a method, ``True`` for the default; an :class:`ExplainError` for others."""
    name = DEFAULT if name is True else name
    if name not in METHODS:
        near = near_matches(str(name), METHODS)
        raise ExplainError(f"explain: unknown method {name!r}.{near} Choices: {', '.join(METHODS)}")
    return name


__all__ = [
    "DEFAULT",
    "METHODS",
    "Attended",
    "ExplainError",
    "Explanation",
    "ForwardPass",
    "Photo",
    "Seen",
    "find_method",
    "forward_pass",
    "make_explanation",
]
