"""Micro-batches into updates: counts, divisors and ends, by a plain loop over the epochs."""

from types import SimpleNamespace

import pytest

from mmf_bridge.common.run_length import LEFTOVERS, RunLength


def training(**changes):
    keys = {"update_frequency": 1, "leftover_batches": "step", "max_epochs": None}
    return SimpleNamespace(**{**keys, "max_updates": None, **changes})


def updates_of(run):
    """The (position, divisor) of every micro-batch of every update of the run, update by update."""
    updates, waiting = [], []
    for _ in range(run.max_epochs):
        for position in range(run.used_batches):
            waiting.append((position, run.divisor(position)))
            if run.finishes(position + 1):
                updates.append(waiting)
                waiting = []
    return updates, waiting


@pytest.mark.parametrize("leftover", LEFTOVERS)
@pytest.mark.parametrize(("batches", "frequency"), [(24, 8), (26, 8), (7, 3), (8, 1), (5, 5)])
def test_the_counts_are_those_of_the_loop(batches, frequency, leftover):
    changes = {"update_frequency": frequency, "leftover_batches": leftover, "max_epochs": 4}
    run = RunLength.of(training(**changes), batches)
    updates, waiting = updates_of(run)
    assert run.max_updates == len(updates) == 4 * run.updates_per_epoch
    left = batches % frequency
    assert len(waiting) == (left if leftover == "carry" else 0)
    sizes = [len(update) for update in updates]
    if leftover == "step":
        assert sum(sizes) == 4 * batches
        assert all(divisor == len(update) for update in updates for _, divisor in update)
        return
    assert all(divisor == frequency for update in updates for _, divisor in update)
    first = frequency + (left if leftover == "carry" else 0)
    per_epoch = [frequency] * (batches // frequency)
    assert sizes == per_epoch + 3 * [first, *per_epoch[1:]]


@pytest.mark.parametrize(
    ("leftover", "scheduled", "made"), [("step", 16, 16), ("carry", 13, 12), ("drop", 12, 12)]
)
def test_carried_batches_count_for_the_schedule(leftover, scheduled, made):
    """26 micro-batches x 4 epochs // 8 = 13, as published, though each epoch has 3 updates."""
    changes = {"update_frequency": 8, "leftover_batches": leftover, "max_epochs": 4}
    run = RunLength.of(training(**changes), 26)
    assert (run.scheduled_updates, run.max_updates) == (scheduled, made)


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_a_run_given_by_updates(leftover):
    changes = {"update_frequency": 8, "leftover_batches": leftover, "max_updates": 100}
    run = RunLength.of(training(**changes), 26)
    assert run.max_updates == run.scheduled_updates == 100
    assert run.updates_per_epoch == (4 if leftover == "step" else 3)


def test_epochs_go_before_updates():
    run = RunLength.of(training(max_epochs=2, max_updates=100), 7)
    assert run.max_updates == 14


def test_a_stream_has_updates_alone():
    run = RunLength.of(training(max_epochs=2, max_updates=5, update_frequency=2), None)
    assert (run.max_updates, run.updates_per_epoch, run.used_batches) == (5, None, None)
    assert [run.finishes(done) for done in (1, 2, 3)] == [False, True, False]
    assert run.divisor(4) == 2


@pytest.mark.parametrize(
    ("changes", "batches", "message"),
    [
        ({"update_frequency": 8, "leftover_batches": "carry"}, 7, r"7 micro-batches, fewer than"),
        ({"update_frequency": 8, "leftover_batches": "drop"}, 7, r"7 micro-batches, fewer than"),
        ({"max_updates": None}, 7, r"Set training\.max_updates or training\.max_epochs"),
        ({"max_updates": None, "max_epochs": 2}, None, r"without a length needs training\.max_upd"),
    ],
)
def test_what_cannot_be_is_refused(changes, batches, message):
    with pytest.raises(ValueError, match=message):
        RunLength.of(training(**{"max_updates": 10, **changes}), batches)


@pytest.mark.parametrize(("leftover", "filled"), [("step", 80), ("carry", 65), ("drop", 60)])
def test_updates_of_more_epochs_than_the_run_has(leftover, filled):
    changes = {"update_frequency": 8, "leftover_batches": leftover, "max_epochs": 9}
    run = RunLength.of(training(**changes), 26)
    assert run.updates_in(20) == filled
    with pytest.raises(ValueError, match="20 epochs of data without a length"):
        RunLength.of(training(max_updates=5), None).updates_in(20)
