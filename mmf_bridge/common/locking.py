"""Locks between processes, which leave no file where the file system allows it.

On Linux' own file systems a folder itself is locked, by ``flock`` of its descriptor: all processes
of this host see that, those in containers too, and the kernel frees it as its holder ends, however
it ends. Of network file systems, and of those that are unknown, a file is locked: their servers
know of locks on files alone, and a lock on a folder would hold on one host only. Where the server
does not pass locks on to other hosts, as some are mounted, nothing can. It is assumed that all who
share a folder reach it the same way: not one through the network, another on the server's own disk.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

_OWN = {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}


@contextmanager
def locked(folder: Path, file: str) -> Iterator[None]:
    """Hold the lock of a folder, which is made; wait while another process holds it.

    Args:
        folder: what the lock is for. Nobody locks it for another purpose.
        file: the name in it of the file that is locked where folders cannot be.

    Raises:
        OSError: the folder cannot be made, or the file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with holding(folder, waits=True) as is_locked:
        if is_locked:
            yield
        else:
            with FileLock(folder / file):
                yield


@contextmanager
def holding(folder: Path, waits: bool) -> Iterator[bool]:
    """Lock a folder itself: True; False where a file has to be locked in its stead.

    Raises:
        BlockingIOError: another holds it, and this process does not wait.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        is_locked = _can_lock(descriptor)
        if is_locked:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        try:
            yield is_locked
        finally:
            # Closing does not free it while a forked process has the descriptor too.
            if is_locked:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def holder_of(folder: Path) -> int | None:
    """The process that holds the lock of a folder; None where the kernel does not tell."""
    stat = os.stat(folder)
    inode = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    try:
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(rf"FLOCK +ADVISORY +WRITE (\d+) {inode} ", locks)
    return int(found[1]) if found else None


def _can_lock(descriptor: int) -> bool:
    """Whether a folder is on a file system of which this kernel knows all locks."""
    try:
        info = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return False
    mount = re.search(r"^mnt_id:\s*(\d+)$", info, re.MULTILINE)
    system = mount and re.search(rf"^{mount[1]} .* - (\S+) ", mounts, re.MULTILINE)
    return bool(system) and system[1] in _OWN
