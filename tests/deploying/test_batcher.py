"""The queue in front of a model: what waits is computed together; no web framework."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError

import pytest

from clipvil_mmf.deploying.batcher import Batcher, BatcherClosedError

PATIENCE = 30


class Slow:
    """Doubles numbers once it may; remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may, self.entered = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.set()
        assert self.may.wait(PATIENCE)
        if -1 in items:
            raise RuntimeError("minus one")
        return [2 * item for item in items]


@pytest.fixture
def slow():
    return Slow()


def begin(slow: Slow, **options) -> Batcher:
    """A batcher that computes its first item, 0, so that what comes next waits."""
    batcher = Batcher(slow, **{"max_batch": 4, "max_wait": 0, **options})
    batcher.submit(0)
    assert slow.entered.wait(PATIENCE)
    return batcher


def test_what_waits_is_computed_together(slow) -> None:
    sizes: list[int] = []
    batcher = begin(slow, on_batch=sizes.append)
    futures = [batcher.submit(item) for item in range(1, 8)]
    assert len(batcher) == 7
    slow.may.set()
    assert [one.result(PATIENCE) for one in futures] == [2 * item for item in range(1, 8)]
    assert slow.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
    assert sizes == [1, 4, 3]
    batcher.close()


def test_sizes_count(slow) -> None:
    batcher = begin(slow)
    futures = [batcher.submit(item, size) for item, size in ((1, 2), (2, 2), (3, 9), (4, 1))]
    slow.may.set()
    assert [one.result(PATIENCE) for one in futures] == [2, 4, 6, 8]
    assert slow.batches == [[0], [1, 2], [3], [4]]
    batcher.close()


def test_a_batch_that_is_not_full_waits_for_others() -> None:
    batches: list[list[int]] = []
    batcher = Batcher(lambda items: batches.append(items) or items, 2, max_wait=PATIENCE)
    futures = [batcher.submit(item) for item in (1, 2)]  # the second fills it
    assert [one.result(PATIENCE) for one in futures] == [1, 2]
    assert batches == [[1, 2]]
    batcher.submit(3)
    batcher.close()  # does not wait for more
    assert batches == [[1, 2], [3]]


def test_one_that_fails_does_not_fail_the_others(slow) -> None:
    batcher = begin(slow)
    futures = [batcher.submit(item) for item in (1, -1, 3)]
    slow.may.set()
    assert futures[0].result(PATIENCE) == 2 and futures[2].result(PATIENCE) == 6
    with pytest.raises(RuntimeError, match="minus one"):
        futures[1].result(PATIENCE)
    batcher.close()


def test_what_was_cancelled_is_left_out(slow) -> None:
    batcher = begin(slow)
    gone, stays = batcher.submit(1), batcher.submit(2)
    assert gone.cancel()
    slow.may.set()
    assert stays.result(PATIENCE) == 4
    with pytest.raises(CancelledError):
        gone.result(PATIENCE)
    assert slow.batches == [[0], [2]]
    batcher.close()


def test_closing_finishes_what_is_there(slow) -> None:
    batcher = begin(slow)
    futures = [batcher.submit(item) for item in range(1, 10)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    slow.may.set()
    closing.join(PATIENCE)
    assert [one.result(0) for one in futures] == [2 * item for item in range(1, 10)]
    with pytest.raises(BatcherClosedError):
        batcher.submit(1)
