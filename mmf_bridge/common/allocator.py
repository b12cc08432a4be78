"""Memory that a step has freed, kept for the next one: for steps computed on CPU.

glibc gives large blocks back to the system at once, and the next step waits for the same pages
again: some 100,000 page faults a step, a tenth of its time.
"""

from __future__ import annotations

import ctypes
import os

# Parameters of mallopt(3), by malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
# With these in the environment the user has decided already.
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; whether it does.

    It does not where the C library is not glibc, or the environment sets its thresholds.
    """
    if any(variable in os.environ for variable in _VARIABLES):
        return False
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    kept = library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    return bool(kept and library.mallopt(_MMAP_MAX, 0))
