"""Batches that a worker hands over as bytes.

torch passes tensors between processes as open shared memory, for which each worker makes a socket
in the temporary folder; a worker that is killed leaves it there. Bytes through the pipe leave
nothing, and need no shared memory, of which containers often have little.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import get_worker_info


class HandOver:
    """A collate function whose batches leave a worker by value."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        batch = self._collate(samples)
        return batch if get_worker_info() is None else _ByValue(batch)


class _ByValue:
    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        written = io.BytesIO()
        _Pickler(written, pickle.HIGHEST_PROTOCOL).dump(self._value)
        return pickle.loads, (written.getvalue(),)


class _Pickler(pickle.Pickler):
    """Writes a tensor's numbers, not its place in memory."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dtype in _WITH_NUMPY:
            return torch.from_numpy, (value.detach().contiguous().numpy(),)
        return NotImplemented  # plain pickle, which writes other tensors in torch's own format


_INTEGERS = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_WITH_NUMPY = _INTEGERS | {torch.float16, torch.float32, torch.float64}
