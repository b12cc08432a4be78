"""What a run says to whoever watches it: a few lines. Its log file has all that MMF logs.

``training.logger_level=debug`` shows all of it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

MMF = ("mmf", "mmf_cli")
_SPEAKER = "mmf_bridge.console"
_LABEL_WIDTH = 9
_WARNINGS = "py.warnings"
_TALKS = "mmf_cli.interactive"  # main's program that asks and answers by log lines

_speaker = logging.getLogger(_SPEAKER)
_speaker.propagate = False
# What was put on the root logger; the next run of this process takes it away.
_on_root: list[logging.Handler] = []
# What has lines that could not be written, which has been said.
_lacking: set[str] = set()


def is_watched() -> bool:
    """Whether somebody sits at a terminal that can redraw a line.

    Files, pipes and notebooks get plain lines, and so does who sets ``NO_COLOR`` or ``TERM=dumb``.
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and sys.stdout.isatty() and sys.stderr.isatty()


def say(text: str) -> None:
    """Show a line on the console of the run of this process, if it is the one that speaks.

    Outside a run it goes to stderr.
    """
    if _speaker.handlers:
        _speaker.info(text, extra={"console": True})
    else:
        print(text, file=sys.stderr, flush=True)


def labelled(label: str, text: str) -> str:
    """A line such as ``data     easy_vqa: ...``; further lines of the text stand below it."""
    return f"{label:{_LABEL_WIDTH}}" + text.replace("\n", "\n" + " " * _LABEL_WIDTH)


class ConsoleHandler(logging.StreamHandler):
    """Shows what concerns the user, and leaves the rest to the log file.

    That is what the bridge and the plugin log, MMF's warnings, everybody's errors, and nothing of
    Python's warnings. A record with ``extra={"console": ...}`` decides for itself.
    """

    def __init__(self, own: Iterable[str], level: int = logging.INFO) -> None:
        super().__init__(sys.stdout)
        self.setLevel(level)
        self.own = frozenset(own)

    def filter(self, record: logging.LogRecord) -> bool:
        if self.level <= logging.DEBUG:
            return True
        said = getattr(record, "console", None)
        if said is not None:
            return said
        package = record.name.split(".")[0]
        if record.name == _WARNINGS:
            return False
        if record.levelno >= logging.ERROR:
            return True
        if record.levelno >= logging.WARNING:
            return package in self.own or package in MMF
        return package in self.own or record.name == _TALKS

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        try:
            # A progress bar steps aside for a line.
            with tqdm.external_write_mode(self.stream):
                print(text, file=self.stream, flush=True)
        except (OSError, ValueError):  # the stream is closed
            _lacks_lines("the console")


def _lacks_lines(name: str) -> None:
    """Say once on stderr that something cannot be written, of whose error this is called.

    The run goes on; ``logging`` would print a traceback for each line.
    """
    if name in _lacking:
        return
    _lacking.add(name)
    with suppress(OSError, ValueError):  # stderr is closed, too
        print(f"warning: {name} lacks lines: {sys.exc_info()[1]}", file=sys.stderr, flush=True)


def speak(files: list[logging.Handler], own: Iterable[str], level: int) -> None:
    """Let this process speak: its console takes the place of MMF's, beside the log files.

    Args:
        files: MMF's handlers that write the log.
        own: the packages whose lines are for the user.
        level: of the run, ``training.logger_level``.
    """
    console = ConsoleHandler(own, level)
    _lacking.clear()
    for file in files:
        name = f"the log {file.stream.name}"
        file.handleError = lambda record, name=name: _lacks_lines(name)  # type: ignore[method-assign]
    _speaker.handlers, _speaker.level = [console], logging.INFO
    logging.getLogger(_WARNINGS).handlers = list(files)
    for handler in (*files, console):
        logging.root.addHandler(handler)
        _on_root.append(handler)


def be_silent() -> None:
    """Let this process, one of several, say nothing."""
    _speaker.handlers = [logging.NullHandler()]


def leave_root() -> None:
    """Take from the root logger what an earlier run has put there."""
    for handler in _on_root:
        logging.root.removeHandler(handler)
    _on_root.clear()


def log_file() -> str | None:
    """The path of the run's log, from the working folder where it is below it; None for none."""
    files = [handler for handler in _on_root if not isinstance(handler, ConsoleHandler)]
    if not files:
        return None
    path = Path(files[-1].stream.name)
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
