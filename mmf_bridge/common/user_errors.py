"""Errors that a user can fix end a command in one line, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points

from mmf_bridge.common.plugins import GROUP

# Of these kinds are the errors that have a message for users; others are faults of the code.
_KINDS = (ValueError, OSError, RuntimeError)
_DEBUG = "training.logger_level=debug"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Let the errors that the bridge and its plugins raise for users end the process in one line.

    With ``training.logger_level=debug`` on the command line their tracebacks are shown.
    """
    try:
        yield
    except _KINDS as error:
        if _DEBUG in sys.argv or not is_for_users(error):
            raise
        sys.stdout.flush()
        sys.stderr.write(f"error: {message(error)} ({_DEBUG} shows where it was found)\n")
        raise SystemExit(1) from error


def is_for_users(error: BaseException) -> bool:
    """Whether an error was made, or raised, by the bridge or an installed plugin of MMF."""
    own = {"mmf_bridge", *(entry.value.split(".")[0] for entry in entry_points(group=GROUP))}
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return any(name.split(".")[0] in own for name in (type(error).__module__, raised_in))


def message(error: BaseException) -> str:
    """The message of an error; that of a data loader's worker without the worker's traceback."""
    text = str(error)
    if "Original Traceback" in text:
        text = text.rsplit(f"{type(error).__name__}: ", 1)[-1]
    return text.strip()
