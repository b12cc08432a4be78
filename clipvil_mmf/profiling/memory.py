"""Peak memory of a piece of work, and how much that is above the resting size."""

from __future__ import annotations

import ctypes
import gc
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # what makes Linux forget VmHWM (proc(5))
_SLACK = 16 * 2**20
_SAMPLING_INTERVAL = 0.001  # seconds

CUDA = "torch.cuda.max_memory_allocated"
VMHWM = "VmHWM"
SAMPLED = "RSS sampled each millisecond"


@dataclass(frozen=True)
class Memory:
    """What a piece of work took, in bytes.

    Args:
        resting: before it, with all that stays: weights, optimizer state, on a CPU the libraries.
        peak: the largest during it.
        how: what was read.
    """

    resting: int
    peak: int
    how: str

    @property
    def growth(self) -> int:
        """How far the peak was above the resting size."""
        return self.peak - self.resting


def peak_memory(work: Callable[[], None], device: torch.device) -> Memory:
    """Do `work` and say what it took.

    On CUDA these are the bytes of tensors. On a CPU it is the resident size of this process, as
    the kernel keeps it; where it cannot be reset, a thread looks at it again and again, which may
    miss a short peak. glibc's malloc keeps freed memory for itself, and what it kept would hide in
    the resting size, so it is told to give it back first.

    Args:
        work: to be done; it has been done before, so that what it leaves behind is at rest already.
        device: where its tensors are.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        resting = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return Memory(resting, torch.cuda.max_memory_allocated(device), CUDA)
    _give_back_freed_memory()
    resting = _resident("VmRSS")
    if _forget_peak():
        work()
        return Memory(resting, _resident("VmHWM"), VMHWM)
    with _Sampler() as sampler:
        work()
    return Memory(resting, max(sampler.peak, resting), SAMPLED)


def _give_back_freed_memory() -> None:
    """Let glibc return freed memory to the system; another C library keeps what it keeps."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident(field: str) -> int:
    """A size of `/proc/self/status`, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{_STATUS} has no {field}: memory on a CPU is measured on Linux alone")
    return int(found.group(1)) * 1024


def _forget_peak() -> bool:
    """Make the kernel forget the peak; containers may forbid it, or take it and do nothing."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return _resident("VmHWM") <= _resident("VmRSS") + _SLACK


class _Sampler:
    """Looks at the resident size from a thread of its own, until it is left."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, _resident("VmRSS"))
            if self._stop.wait(_SAMPLING_INTERVAL):
                return

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
