"""The order of samples: exact, drawn from the seed and the epoch, and resumable."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from mmf_bridge.common import loading
from mmf_bridge.common.interruption import interruption
from mmf_bridge.common.loading import (
    EpochBatches,
    build_batch_sampler,
    build_dataloader,
    stop_workers,
)


def flat(lists):
    return [item for part in lists for item in part]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 203])
def test_an_evaluation_has_each_sample_once(length, world_size, monkeypatch):
    monkeypatch.setattr(loading, "get_world_size", lambda: world_size)
    seen = []
    for rank in range(world_size):
        monkeypatch.setattr(loading, "get_rank", lambda: rank)  # noqa: B023
        batches = build_batch_sampler(dataset(length), 2 * world_size, False, 0)
        assert len(batches) == len(list(batches))
        seen += flat(batches)
    assert sorted(seen) == list(range(length))


def dataset(length=10, **more):
    made = TensorDataset(torch.arange(length))
    for name, value in {"dataset_type": "train", "dataset_name": "some", **more}.items():
        setattr(made, name, value)
    return made


def test_every_epoch_has_its_own_order_and_starts_where_it_is_told():
    batches = build_batch_sampler(dataset(), 3, shuffle=True, seed=5)
    batches.set_epoch(1)
    first = list(batches)
    assert sorted(flat(first)) == list(range(10)) and len(batches) == len(first) == 4
    batches.start_at(2)
    assert list(batches) == first[2:]
    assert list(batches) == first  # only the next iteration was shortened
    batches.set_epoch(2)
    assert list(batches) != first
    again = build_batch_sampler(dataset(), 3, shuffle=True, seed=5)
    again.set_epoch(1)
    assert list(again) == first
    other = build_batch_sampler(dataset(), 3, shuffle=True, seed=6)
    other.set_epoch(1)
    assert list(other) != first


def test_training_processes_take_as_many_steps_and_evaluation_pads_nothing(monkeypatch):
    monkeypatch.setattr(loading, "get_world_size", lambda: 2)
    shares = {True: [], False: []}
    for shuffle, share in shares.items():
        for rank in (0, 1):
            monkeypatch.setattr(loading, "get_rank", lambda rank=rank: rank)
            share.append(list(build_batch_sampler(dataset(9), 4, shuffle, seed=0)))
    assert [len(batches) for batches in shares[True]] == [3, 3]
    assert set(flat(flat(shares[True]))) == set(range(9))
    assert sorted(flat(flat(shares[False]))) == list(range(9))


def test_a_batch_size_that_cannot_be_shared(monkeypatch):
    monkeypatch.setattr(loading, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match=r"training\.batch_size is 7.*divisible.*processes, 2"):
        build_batch_sampler(dataset(), 7, shuffle=False, seed=0)


def test_a_datasets_own_batches_and_collation_are_used():
    asked = []

    def own(*arguments):
        asked.append(arguments)
        return [[1, 0], [2]]

    brings = dataset(build_batch_sampler=own, collate=lambda samples: [int(s[0]) for s in samples])
    training = SimpleNamespace(batch_size=4, num_workers=0, pin_memory=False, get=lambda *_: None)
    loader, batches = build_dataloader(brings, training, 7, fallback_collate=None)
    assert asked == [(4, True, 7, 0, 1)]
    assert list(loader) == [[1, 0], [2]]
    assert isinstance(batches, EpochBatches)
    assert loader.dataset_type == "train"


def test_loading_draws_nothing_from_the_models_generator():
    training = SimpleNamespace(batch_size=4, num_workers=0, pin_memory=False, get=lambda *_: None)
    loader, batches = build_dataloader(dataset(), training, 7, fallback_collate=list)
    before = torch.get_rng_state()
    batches.set_epoch(1)
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)


def with_a_worker():
    training = SimpleNamespace(batch_size=2, num_workers=1, pin_memory=False, get=lambda *_: None)
    return build_dataloader(dataset(), training, 7, fallback_collate=list)[0]


def test_workers_of_an_iteration_that_somebody_holds_are_ended_without_a_signal(monkeypatch):
    loader = with_a_worker()
    held = iter(loader)
    next(held)
    (worker,) = held._workers
    monkeypatch.setattr(worker, "terminate", lambda: pytest.fail("was told by a signal"))
    stop_workers(loader)
    assert worker.exitcode == 0


def test_no_sigterm_reaches_a_worker_before_it_is_shielded(monkeypatch):
    masks, stock = [], DataLoader.__iter__

    def remembered(self):
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return stock(self)

    monkeypatch.setattr(DataLoader, "__iter__", remembered)
    loader = with_a_worker()
    iter(loader)
    stop_workers(loader)
    assert signal.SIGTERM in masks[0]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def interrupt(before, *args):
    """A signal, and then what it comes in."""
    os.kill(os.getpid(), signal.SIGTERM)
    before(*args)


def test_a_signal_waits_until_a_worker_has_its_work():
    """Else what sends it might sleep on, and the worker never hear that it is over."""
    loader, done = with_a_worker(), []
    with pytest.raises(SystemExit), interruption.handled():
        iterator = iter(loader)
        condition = iterator._index_queues[0]._notempty
        stock = condition.notify
        condition.notify = lambda: (interrupt(stock), done.append(True))
        next(iterator)
    condition.notify = stock
    stop_workers(loader)
    assert done


def test_a_signal_waits_until_workers_are_known(monkeypatch):
    """Else nobody would end them."""
    stock, loader, started = DataLoader.__iter__, with_a_worker(), []

    def start(self):
        started.append(stock(self))
        interrupt(lambda: None)
        return started[0]

    monkeypatch.setattr(DataLoader, "__iter__", start)
    with pytest.raises(SystemExit), interruption.handled():
        iter(loader)
    assert list(loader.running) == started
    stop_workers(loader)
