"""The memory of this process."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident(field: str) -> int | None:
    """A size of Linux's `/proc/self/status`, in bytes: VmRSS, or VmHWM, its peak; else None."""
    if not _STATUS.exists():
        return None
    found = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


def peak_resident() -> int:
    """The largest resident size of this process so far, in bytes.

    What getrusage(2) calls so is on Linux also that of the process that started this one.
    """
    peak = resident("VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
