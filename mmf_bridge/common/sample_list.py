"""Patches of ``mmf.common.sample``: a batch may hold fields of different lengths.

A batch of questions carries each of its images once, so ``images`` has fewer rows than the
questions' fields. MMF moves a batch to its device by copying it field by field, and its copy
rejects such a batch.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any


def patch(module: ModuleType) -> None:
    """Let ``SampleList.copy`` (which ``to`` works on) take over the fields as they are."""

    def copy(self: Any) -> Any:
        """A new ``SampleList`` with the same fields, and the same idea of its batch size."""
        clone = type(self)()
        clone.update(self)
        clone._set_tensor_field(self._get_tensor_field())
        return clone

    module.SampleList.copy = copy
