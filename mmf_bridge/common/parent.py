"""Processes that end with the one that started them, however that ends, and hold nothing of it."""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # of Linux' <sys/prctl.h>
_STDERR = 2
_POLL = 1.0  # seconds between two looks at whether the parent lives


def end_with(
    parent: int, signum: int = signal.SIGKILL, started_by_main_thread: bool = True
) -> None:
    """Let this process get a signal as soon as ``parent``, which has started it, has ended.

    Linux sends it when the *thread* that started this process ends; where that may be another than
    the main one, on other systems, and where a fork server stands between the two, a thread looks
    every second.
    """
    is_child = os.getppid() == parent
    if is_child and started_by_main_thread and sys.platform == "linux":
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # it has ended meanwhile
            os.kill(os.getpid(), signum)
        return
    threading.Thread(target=_watch, args=(parent, is_child, signum), daemon=True).start()


def _watch(parent: int, is_child: bool, signum: int) -> None:
    while os.getppid() == parent if is_child else _lives(parent):
        time.sleep(_POLL)
    os.kill(os.getpid(), signum)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # there is none, or it is another user's
        return False
    return True


def leave_parents_descriptors() -> None:
    """Give up the sockets and folders that a fork has brought: they are the parent's.

    Its peers see its end on the former, and it may hold locks on the latter. In their places
    stands /dev/null: an object that holds such a number may still close it.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/dev/fd"):
        descriptor = int(name)
        if descriptor > _STDERR and _is_parents(descriptor):
            os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _is_parents(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # that of the listing, which is closed by now
        return False
    return stat.S_ISSOCK(mode) or stat.S_ISDIR(mode)
