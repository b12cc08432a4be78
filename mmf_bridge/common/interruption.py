"""Ctrl-C, SIGTERM and SIGHUP: a run saves after its current update and ends with one line.

Before the first update of a run, and after its training, the handler ends the run at once; between
them it takes a note that the trainer reads after each update. A second Ctrl-C ends the run at once
in any case; a second SIGTERM or SIGHUP is ignored, since a launcher may pass on what the system has
sent to all of its processes already.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import torch

from mmf_bridge.common.distributed import any_process, get_world_size
from mmf_bridge.common.parent import end_with, leave_parents_descriptors

# SIGHUP comes when the terminal closes.
ENDINGS = (signal.SIGTERM, signal.SIGHUP)
SIGNALS = (signal.SIGINT, *ENDINGS)


class Interrupted(BaseException):
    """A signal ends the run; the message, a line for the user, is empty if it has been said."""

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message)
        self.signum = signum


class EvaluationCut(Interrupted):
    """An evaluation amid training ends early; the update before it is still to be saved."""


class Interruption:
    """What signals have asked of the run of this process."""

    def __init__(self) -> None:
        self._start(None, None)

    def _start(self, process: int | None, parent: int | None) -> None:
        self.asked: int | None = None  # the first signal
        self.waits = False  # whether somebody will look at it soon; else the handler ends the run
        self.loses = "nothing has been saved"  # by an end at once
        self.speaks = True  # whether this process tells the user; one of several does
        self._ends = False
        self._holds = False
        self._late: list[int] = []  # signals that came meanwhile
        self._process, self._parent = process, parent

    @contextmanager
    def handled(self, parent: int | None = None) -> Iterator[None]:
        """Handle the signals in this block, if it is in the main thread and not within another one.

        ``parent`` is the process that passes on what it gets, if there is one: Ctrl-C then reaches
        this process as well, and is not for it while the parent lives. A run that a signal ends
        raises ``SystemExit`` with 128 and its number.
        """
        main = threading.current_thread() is threading.main_thread()
        if self._process == os.getpid() or not main:
            yield
            return
        self._start(os.getpid(), parent)
        # Who starts a run in the background may have them ignored, as nohup does with SIGHUP.
        handled = [s for s in SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
        before = {signum: signal.signal(signum, self._handle) for signum in handled}
        try:
            yield
        except Interrupted as end:
            self._leave(end.signum, str(end))
        except Exception as error:
            if self.asked is None or get_world_size() < 2:
                raise
            # Another process has ended first, and this one was waiting for it.
            self._leave(self.asked, f"Interrupted ({type(error).__name__}): {self.loses}")
        finally:
            self._process = None
            for signum, handler in before.items():
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put off what signals ask to the end of this block, which must not end half-way.

        Of a queue that a signal has left amid ``put``, the thread that sends its content may never
        wake.
        """
        if self._holds or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
            while self._late:
                self._handle(self._late.pop(0), None)

    def asked_anywhere(self, device: torch.device) -> bool:
        """Whether a signal has asked any process to end; all of them have to call it."""
        asked = self.asked is not None
        if get_world_size() < 2:
            return asked
        return any_process(torch.tensor(asked, device=device))

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # forked from the run: a worker, say
            if signum == signal.SIGTERM:
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
            return
        if self._holds:
            self._late.append(signum)
            return
        if signum == signal.SIGHUP:
            _leave_terminal()
        if signum == signal.SIGINT and self._parent == os.getppid():
            return
        first = self.asked is None
        if not first and signum in ENDINGS:
            return
        if self._ends:  # it is ending already
            os._exit(128 + signum)
        self.asked = self.asked or signum
        if first and self.waits:
            return
        self._ends = True
        raise Interrupted(self.asked, f"Interrupted: {self.loses}")

    def _leave(self, signum: int, message: str) -> NoReturn:
        if message and self.speaks:
            sys.stderr.write(f"{message}\n")
        raise SystemExit(128 + signum) from None


interruption = Interruption()


def _leave_terminal() -> None:
    """Write nothing more to a terminal that is gone: each line would be an error."""
    for descriptor in (1, 2):
        poll = select.poll()
        poll.register(descriptor, 0)
        if poll.poll(0):  # hung up
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, descriptor)
            os.close(nothing)


def shield_worker(trainer: int, started_by_main_thread: bool, number: int) -> None:
    """Let a data loader's worker live as long as its trainer lets it, whoever else gets signals.

    Ctrl-C in a terminal reaches all processes, and so does SIGTERM from many job schedulers. Only a
    thread can tell who sends a signal, and end a worker that hangs. ``trainer`` is the process that
    has the loader, and need not be the worker's parent. However it ends, the worker ends with it.
    """
    end_with(trainer, started_by_main_thread=started_by_main_thread)
    if os.getppid() == trainer:
        leave_parents_descriptors()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    threading.Thread(target=_wait_for_trainer, args=(trainer,), daemon=True).start()


def _wait_for_trainer(trainer: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != trainer:
        pass
    os._exit(0)
