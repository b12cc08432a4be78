"""Peak memory of a piece of work, and how much that is above the resting size."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from mmf_bridge.common.resident import resident

_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # what makes Linux forget VmHWM (proc(5))
_SLACK = 16 * 2**20
_SAMPLING_INTERVAL = 0.001  # seconds


@dataclass(frozen=True)
class Memory:
    """What a piece of work took, in bytes."""

    resting: int  # before it: weights, optimizer state, on a CPU the libraries
    peak: int  # the largest during it
    how: str  # what was read

    @property
    def growth(self) -> int:
        """How far the peak was above the resting size."""
        return self.peak - self.resting


def peak_memory(work: Callable[[], None], device: torch.device) -> Memory:
    """Do `work`, once more so that what it leaves behind is at rest already; say what it took.

    On CUDA these are the bytes of tensors. On a CPU it is the resident size of this process, as
    the kernel keeps it; where it cannot be reset, a thread looks at it all the time, which may
    miss a short peak. glibc's malloc keeps freed memory for itself, and what it kept would hide in
    the resting size, so it is told to give it back first.

    Raises:
        OSError: memory on a CPU is measured on Linux alone.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        resting = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device)
        return Memory(resting, peak, "torch.cuda.max_memory_allocated")
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # another C library has none
    if trim is not None:
        trim(0)
    resting = _resident("VmRSS")
    if _forget_peak():
        work()
        return Memory(resting, _resident("VmHWM"), "VmHWM")
    return Memory(resting, max(_sampled_peak(work), resting), "RSS sampled each millisecond")


def _resident(field: str) -> int:
    """A size of this process, in bytes."""
    found = resident(field)
    if found is None:
        raise OSError(f"there is no {field} here: memory on a CPU is measured on Linux alone")
    return found


def _forget_peak() -> bool:
    """Make the kernel forget the peak; containers may forbid it, or take it and do nothing."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return _resident("VmHWM") <= _resident("VmRSS") + _SLACK


def _sampled_peak(work: Callable[[], None]) -> int:
    """The largest resident size that a thread sees during `work`, in bytes."""
    sizes = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLING_INTERVAL):
            sizes.append(_resident("VmRSS"))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return max(sizes)
