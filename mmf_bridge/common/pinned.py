"""Memory that CUDA copies from by itself, while processor and GPU compute."""

from __future__ import annotations

import functools
import logging
import mmap
import weakref
from typing import Any

import numpy as np
import torch

logger = logging.getLogger(__name__)


def copy_stream(device: torch.device) -> Any:
    """The one CUDA stream on which batches are copied to a device, beside its computations."""
    return _stream(torch.cuda.current_device() if device.index is None else device.index)


@functools.cache
def _stream(number: int) -> Any:
    return torch.cuda.Stream(number)


def copies_under_way() -> list[Any]:
    """CUDA events after all copies that this thread and the copying stream have begun.

    An event's ``query()`` is True once they are done. Empty where CUDA is not used.
    """
    if not torch.cuda.is_initialized():
        return []
    current = torch.cuda.current_stream()
    beside = copy_stream(current.device)
    return [stream.record_event() for stream in {current, beside}]


class PinnedMemory:
    """Registers parts of mapped memory with CUDA as they are used, since that takes the pages."""

    def __init__(self, memory: np.ndarray) -> None:
        self._start = memory.__array_interface__["data"][0]
        self._registered: dict[int, int] = {}  # address -> bytes
        self._fails = False
        weakref.finalize(memory, _unregister, self._registered).atexit = False

    def register(self, offset: int, size: int) -> None:
        """Pin ``size`` bytes from ``offset`` on, a page's beginning, unless they are pinned.

        Nothing may be copied from them at the moment. Where CUDA refuses, memory stays as it is.
        """
        address, size = self._start + offset, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if self._fails or self._registered.get(address, 0) >= size:
            return
        runtime = torch.cuda.cudart()
        try:
            if self._registered.pop(address, None) is not None:
                torch.cuda.check_error(runtime.cudaHostUnregister(address))
            torch.cuda.check_error(runtime.cudaHostRegister(address, size, 0))
        except RuntimeError as error:
            self._fails = True
            logger.warning(
                "CUDA does not pin the batches' memory (%s): copies to the GPU wait. More locked "
                "memory (ulimit -l), or training.pin_memory: false, which does not try",
                error,
            )
        else:
            self._registered[address] = size


def _unregister(registered: dict[int, int]) -> None:
    for address in registered:
        torch.cuda.cudart().cudaHostUnregister(address)
