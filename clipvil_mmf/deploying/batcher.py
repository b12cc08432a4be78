"""Requests that wait at the same time are computed together: a thread, and no web framework."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger(__name__)


class BatcherClosedError(RuntimeError):
    """A request that came after :meth:`Batcher.close`."""


@dataclass(eq=False)
class _Waiting:
    item: Any
    size: int
    future: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Computes items in batches, in a thread of its own, in the order in which they come.

    Args:
        compute: some items -> a result for each.
        max_batch: the size of a batch at most; a larger item is one alone.
        max_wait: seconds that an item waits for others, where a batch is not full. While a batch
            is computed the next one fills up, and waits no longer than it has to.
        on_batch: called with the size of each batch.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Any]], Sequence[Any]],
        max_batch: int,
        max_wait: float,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._compute, self._on_batch = compute, on_batch
        self._max_batch, self._max_wait = max_batch, max_wait
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="clipvil-batches", daemon=True)
        self._thread.start()

    def submit(self, item: Any, size: int = 1) -> Future[Any]:
        """Let an item be computed; one whose future is cancelled while it waits is left out.

        Raises:
            BatcherClosedError: it is closed.
        """
        waiting = _Waiting(item, size)
        with self._changed:
            if self._is_closed:
                raise BatcherClosedError("the batcher is closed")
            self._queue.append(waiting)
            self._changed.notify()
        return waiting.future

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._queue)

    def close(self) -> None:
        """Take no more items, and return when those that are there have been computed."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            started = [one for one in batch if one.future.set_running_or_notify_cancel()]
            if started:
                self._on_batch(sum(one.size for one in started))
                self._finish(started)

    def _next(self) -> list[_Waiting]:
        """The items of the next batch; none once it is closed and empty."""
        with self._changed:
            while not self._queue and not self._is_closed:
                self._changed.wait()
            while self._queue and not self._is_closed:
                left = self._queue[0].since + self._max_wait - time.monotonic()
                if left <= 0 or sum(one.size for one in self._queue) >= self._max_batch:
                    break
                self._changed.wait(left)
            batch: list[_Waiting] = []
            size = 0
            while self._queue and (not batch or size + self._queue[0].size <= self._max_batch):
                batch.append(self._queue.popleft())
                size += batch[-1].size
            return batch

    def _finish(self, batch: Sequence[_Waiting]) -> None:
        """Compute items together; should that fail, one by one, so that each has its own error."""
        try:
            results = self._compute([one.item for one in batch])
        except Exception as error:  # noqa: BLE001 (it is the waiting one's)
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            logger.warning("A batch of %d requests failed (%s); one by one", len(batch), error)
            for one in batch:
                self._finish([one])
            return
        for one, result in zip(batch, results, strict=True):
            one.future.set_result(result)
