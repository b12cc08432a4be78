"""Mend of ``mmf.common.sample`` on both lines: batches whose fields differ in length."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def mend(module: ModuleType) -> None:
    """Let a batch be copied, and so moved to a device, as it is.

    A batch may hold, say, its unique images beside an index of one entry a question. Stock MMF
    checks that all tensors have one length whenever a ``SampleList`` is copied.
    """

    def copy(self: Any) -> Any:
        """A shallow copy, field by field."""
        duplicate = type(self)()
        for field in self.fields():
            duplicate[field] = self[field]
        tensor_field = self._get_tensor_field()
        if tensor_field is not None:
            duplicate._set_tensor_field(tensor_field)
        return duplicate

    module.SampleList.copy = copy
