"""Bars of work whose length is known; where nobody watches, a line now and then."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tqdm import tqdm

from mmf_bridge.common.console import is_watched, say

SILENCE = 30.0  # seconds after which a line says how far the work is
_REDRAW = 0.1  # seconds between two looks of a bar
_LATEST = 100  # updates whose pace counts


class Progress:
    """How far some work is: a bar that goes when the work ends, or plain lines.

    Work that ends before :data:`SILENCE` has passed says nothing in plain lines.
    """

    def __init__(self, what: str, total: int, unit: str = "", shown: bool = True) -> None:
        """``unit`` is that of ``total``, ``B`` for bytes; only what is ``shown`` says anything."""
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self._is_shown, self._bar = shown, None
        if shown and is_watched():
            self._bar = tqdm(
                total=total,
                desc=what,
                unit=unit if unit == "B" else f" {unit}" if unit else "it",
                unit_scale=unit == "B",
                leave=False,
                dynamic_ncols=True,
                file=sys.stderr,
            )
        self._began = self._said = time.monotonic()

    def update(self, count: int = 1) -> None:
        """Note that so much more of the work is done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._is_shown and time.monotonic() - self._said > SILENCE:
            self._said = time.monotonic()
            left = (self._said - self._began) * (self.total - self.done) / max(1, self.done)
            unit = f" {self.unit}" if self.unit else ""
            done, total = self._amount(self.done), self._amount(self.total)
            say(f"{self.what} {done}/{total}{unit} eta {clock(left)}")

    def _amount(self, amount: int) -> str:
        return tqdm.format_sizeof(amount) if self.unit == "B" else f"{amount:,}"

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def track(items: Iterable[Any], what: str, unit: str = "", shown: bool = True) -> Iterator[Any]:
    """The items of something that has a length, with their progress."""
    with Progress(what, len(items), unit, shown) as progress:
        for item in items:
            yield item
            progress.update()


class TrainingBar:
    """The bar over all updates of a run, drawn where somebody watches."""

    def __init__(self, total: int, done: int, shown: bool = True) -> None:
        self.total, self.done = total, done
        self._is_drawn, self._bar = shown and is_watched(), None
        self._drawn = 0.0

    def update(self, line: Callable[[], str]) -> None:
        """Count an update; ``line`` is asked for what stands behind the bar when it is redrawn."""
        self.done += 1
        if self._is_drawn and time.monotonic() - self._drawn >= _REDRAW:
            self.draw(line())

    def draw(self, line: str) -> None:
        """Draw the bar with a line behind it."""
        if not self._is_drawn:
            return
        self._drawn = time.monotonic()
        if self._bar is None:
            self._bar = tqdm(
                desc=line,
                total=self.total,
                initial=self.done,
                leave=False,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}%|{bar}| {desc}",
                file=sys.stderr,
            )
            return
        self._bar.n = self.done
        self._bar.set_description_str(line)

    def hide(self) -> None:
        """Take the bar away until the next update."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._drawn = 0.0


class Pace:
    """Updates a second over the latest ones, without what was done between them."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_LATEST)
        self._since = time.perf_counter()

    def go_on(self) -> None:
        """Let the time from now on count: something else was done."""
        self._since = time.perf_counter()

    def update_ended(self) -> None:
        """Note the end of an update."""
        now = time.perf_counter()
        self._seconds.append(now - self._since)
        self._since = now

    @property
    def rate(self) -> float | None:
        """Updates a second; None before the second one: the first has much to set up."""
        if len(self._seconds) < 2:
            return None
        # Until it is among many, the first one would make the run look slow.
        seconds = list(self._seconds)[1:]
        return len(seconds) / max(sum(seconds), 1e-9)


def clock(seconds: float) -> str:
    """``0:24``, ``12:05`` or ``3:10:00``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def short(value: float) -> str:
    """Four digits of a figure that matter: ``0.985``, ``4.2e-4``."""
    text = f"{value:.4g}"
    if "e" in text or (value and abs(value) < 1e-3):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text


def speed(rate: float) -> str:
    """``15 it/s``, and ``2.3 s/it`` of what takes longer."""
    return f"{rate:.3g} it/s" if rate >= 1 else f"{1 / rate:.3g} s/it"
