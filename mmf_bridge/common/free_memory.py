"""How much memory a process may still take."""

from __future__ import annotations

import re
import sys
from pathlib import Path

# A container's limit and use, by the two versions of Linux's control groups.
_CGROUPS = (
    ("memory.max", "memory.current", "memory.stat"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
    ),
)


def available_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are available on this machine and in this container (Linux).

    Elsewhere, where nothing says it, a large number.
    """
    rooms = [sys.maxsize]
    meminfo = _text(proc / "meminfo")
    if found := re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.M):
        rooms.append(int(found[1]) * 1024)
    for limit, use, statistics in _CGROUPS:
        most, used = _text(cgroup / limit).strip(), _text(cgroup / use).strip()
        if most.isdecimal() and used.isdecimal():
            # Files that the kernel has read and may forget count as used.
            files = re.search(r"^(?:total_)?inactive_file (\d+)", _text(cgroup / statistics), re.M)
            rooms.append(int(most) - int(used) + (int(files[1]) if files else 0))
    return max(0, min(rooms))


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
