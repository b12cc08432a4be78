"""Counters of a server, in the text format that Prometheus reads."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence

# Content type of the text format, https://prometheus.io/docs/instrumenting/exposition_formats.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
QUESTIONS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Histogram:
    """How often values fall below each of some bounds, in ascending order."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> list[str]:
        """Its samples."""
        found, total = [], 0
        for bound, count in zip([*self._bounds, "+Inf"], self._counts, strict=True):
            total += count
            text = bound if isinstance(bound, str) else f"{bound:g}"
            found.append(f'{name}_bucket{{le="{text}"}} {total}')
        return [*found, f"{name}_sum {self._sum:.9g}", f"{name}_count {total}"]


class Metrics:
    """What a server counts; any thread may do so.

    Args:
        gauges: name -> (what it is, a function that says it now).
    """

    def __init__(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        self._gauges = gauges
        self._requests: Counter[int] = Counter()
        self._seconds, self._batches = Histogram(SECONDS), Histogram(QUESTIONS)
        self._lock = threading.Lock()

    def add_request(self, status: int, seconds: float) -> None:
        """Count a request for answers."""
        with self._lock:
            self._requests[status] += 1
            self._seconds.add(seconds)

    def add_batch(self, questions: int) -> None:
        """Count a batch."""
        with self._lock:
            self._batches.add(questions)

    def text(self) -> str:
        """All of it."""
        with self._lock:
            requests = [
                f'clipvil_requests_total{{status="{status}"}} {count}'
                for status, count in sorted(self._requests.items())
            ]
            seconds = self._seconds.lines("clipvil_request_seconds")
            batches = self._batches.lines("clipvil_batch_questions")
        lines = [
            *_head("clipvil_requests_total", "counter", "Requests for answers, by status."),
            *requests,
            *_head("clipvil_request_seconds", "histogram", "From a request to its answer."),
            *seconds,
            *_head("clipvil_batch_questions", "histogram", "Questions computed together."),
            *batches,
        ]
        for name, (what, value) in self._gauges.items():
            lines += [*_head(f"clipvil_{name}", "gauge", what), f"clipvil_{name} {value():g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, what: str) -> list[str]:
    return [f"# HELP {name} {what}", f"# TYPE {name} {kind}"]
