"""Batches in shared memory: as they were made, whoever holds them; and nothing is left behind."""

import logging
import mmap
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, get_worker_info

from mmf_bridge.common import loading, pinned, shared_batches
from mmf_bridge.common.loading import build_dataloader, stop_workers
from mmf_bridge.common.shared_batches import HandOver, Ring, build_ring, empty

_ENDLESS = """
import torch
from types import SimpleNamespace
from mmf_bridge.common.loading import build_dataloader

class Ones(torch.utils.data.Dataset):
    dataset_type, dataset_name = "train", "ones"

    def __len__(self):
        return 100_000

    def __getitem__(self, row):
        return torch.ones(1000)

training = SimpleNamespace(batch_size=4, num_workers=2, pin_memory=False, get=lambda *_: None)
loader, _ = build_dataloader(Ones(), training, 0, torch.stack)
for batch in loader:
    print(tuple(batch.shape), flush=True)
"""


def transposed(samples):
    numbers = torch.stack(samples)
    return {
        "transposed": numbers.t(),
        "every_other": numbers[:, ::2],
        "repeated": numbers[:1].expand(5, 3),
        "half": numbers.half(),
        "brain": numbers.bfloat16(),
        "complex": numbers + 1j,
        "conjugate": (numbers + 1j).conj(),
        "mask": numbers > 3,
        "empty": numbers[:0],
        "one": numbers.sum(),
        "names": ["a", 1],
        "array": numbers.numpy(),
    }


@pytest.fixture
def large_is_all(monkeypatch):
    """Tests are small: every tensor stays in its slot."""
    monkeypatch.setattr(shared_batches, "_SMALL", 1)


@pytest.fixture
def as_worker(monkeypatch):
    """This process takes itself for the worker of a ring that it made."""

    def writer(ring):
        monkeypatch.setattr(shared_batches, "get_worker_info", lambda: SimpleNamespace(id=0))
        monkeypatch.setattr(shared_batches, "_ring_of_workers", ring)
        monkeypatch.setattr(shared_batches, "_writer", None)
        return HandOver(lambda batch: batch)

    return writer


def arrived(message):
    return pickle.loads(pickle.dumps(message))


def is_in(ring, tensor):
    start = ring.memory.__array_interface__["data"][0]
    return start <= tensor.data_ptr() < start + len(ring.memory)


def check(batch, samples):
    expected = transposed(samples)
    assert batch.keys() == expected.keys() and batch["names"] == ["a", 1]
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert batch[name].dtype == value.dtype and torch.equal(batch[name], value)
    assert np.array_equal(batch["array"], expected["array"])
    batch["transposed"] += 1  # writable, as a batch that was made here
    batch["array"] += 1


SAMPLES = [torch.tensor([float(i), 2.0, 7.0]) for i in range(4)]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("has_slots", [True, False])
def test_a_batch_arrives_as_it_was_made(workers, has_slots, large_is_all):
    made = loading.Loader if has_slots else DataLoader
    loader = made(SAMPLES, batch_size=2, num_workers=workers, collate_fn=HandOver(transposed))
    batches = list(loader)
    assert len(batches) == 2
    for batch, chosen in zip(batches, (SAMPLES[:2], SAMPLES[2:]), strict=True):
        check(batch, chosen)
    if workers and has_slots:
        assert all(is_in(loader._ring, batch["transposed"]) for batch in batches)


def test_the_layout_of_a_tensor_arrives(as_worker, large_is_all):
    hand_over = as_worker(Ring(1, 1, 1 << 16))
    pixels = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    (other,) = arrived(hand_over([pixels]))
    assert torch.equal(other, pixels) and other.stride() == pixels.stride()


def test_what_a_dataset_writes_into_its_slot_is_not_copied(as_worker, large_is_all):
    hand_over = as_worker(ring := Ring(1, 1, 1 << 16))
    first, second = (empty((2, n), torch.float32) for n in (3, 5))
    assert is_in(ring, first) and is_in(ring, second)
    first[:], second[:] = 1, 2
    batch = arrived(hand_over({"first": first, "rows": second[1:], "other": torch.ones(3)}))
    assert [batch[name].data_ptr() - first.data_ptr() for name in ("first", "rows")] == [0, 64 + 20]
    assert (batch["first"] == 1).all() and batch["rows"].tolist() == [[2.0] * 5]
    assert is_in(ring, batch["other"]) and batch["other"].tolist() == [1, 1, 1]


def test_outside_of_workers_memory_is_ordinary():
    assert empty((2, 3), torch.uint8).shape == (2, 3)


def test_a_slot_is_filled_anew_when_the_last_tensor_in_it_is_gone(as_worker, large_is_all):
    hand_over = as_worker(ring := Ring(1, 2, 1 << 16))
    batches = [arrived(hand_over([torch.full((9,), i), torch.zeros(4)])) for i in range(4)]
    # The third and the fourth found no slot.
    assert [is_in(ring, batch[0]) for batch in batches] == [True, True, False, False]
    views = [batch[0][2:5] for batch in batches]
    del batches
    assert not is_in(ring, arrived(hand_over([torch.ones(9)]))[0])
    address = views.pop(0).data_ptr()
    later = arrived(hand_over([torch.full((9,), 7)]))[0]
    assert later[2:].data_ptr() == address and later.tolist() == [7] * 9
    assert [view.tolist() for view in views] == [[1] * 3, [2] * 3, [3] * 3]


def test_small_tensors_do_not_hold_a_slot(as_worker):
    """Such as targets, which a metric may keep for a whole split."""
    hand_over = as_worker(ring := Ring(1, 1, 4 << 20))
    large, small = arrived(hand_over([torch.zeros(1 << 19), torch.ones(5)]))
    assert is_in(ring, large) and not is_in(ring, small)
    del large
    again = arrived(hand_over([torch.zeros(1 << 19)]))[0]
    assert is_in(ring, again) and small.tolist() == [1] * 5


def test_a_batch_larger_than_its_slot(as_worker, large_is_all, caplog):
    hand_over = as_worker(ring := Ring(1, 1, 4096))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            batch = arrived(hand_over([torch.arange(3000), torch.arange(5)]))
            assert torch.equal(batch[0], torch.arange(3000))
            assert [is_in(ring, tensor) for tensor in batch] == [False, True]
            del batch
        whole = arrived(hand_over([torch.arange(3000)]))[0]
    assert torch.equal(whole, torch.arange(3000)) and ring.take(0) == 0  # was given back
    assert len(caplog.records) == 1 and "larger than its slot" in caplog.text


def test_a_batch_that_cannot_be_sent_gives_its_slot_back(as_worker):
    hand_over = as_worker(ring := Ring(1, 1, 4096))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        hand_over([torch.ones(3), lambda: None])
    assert ring.take(0) == 0


def test_a_forked_process_gives_nothing_back(as_worker, large_is_all):
    hand_over = as_worker(ring := Ring(1, 1, 4096))
    batch = arrived(hand_over([torch.ones(3)]))
    ring._owner += 1
    del batch
    assert ring.take(0) is None


def test_a_slot_waits_for_copies_to_the_gpu(as_worker, large_is_all, monkeypatch):
    done, registered = [], []
    copy = SimpleNamespace(query=lambda: bool(done))
    monkeypatch.setattr(shared_batches, "copies_under_way", lambda: [copy])
    monkeypatch.setattr(
        shared_batches.PinnedMemory, "register", lambda self, *part: registered.append(part)
    )
    hand_over = as_worker(Ring(1, 3, 4096, pins=True))
    arrived(hand_over([torch.ones(3)]))
    assert registered == [(0, 12)]
    arrived(hand_over([torch.ones(3)]))  # the first slot is not free yet
    assert registered[1:] == [(4096, 12)]
    done.append(True)
    arrived(hand_over([torch.ones(3)]))  # and is found to be free here
    arrived(hand_over([torch.ones(3)]))
    assert registered[2:] == [(2 * 4096, 12), (0, 12)]


def test_pinned_memory_grows_with_what_is_used(monkeypatch, caplog):
    calls, errors = [], []

    def called(name):
        return lambda *arguments: calls.append((name, *arguments)) or len(errors)

    def check_error(code):
        if code:
            raise RuntimeError("out of memory")

    runtime = SimpleNamespace(cudaHostRegister=called("on"), cudaHostUnregister=called("off"))
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(torch.cuda, "check_error", check_error)
    memory = np.zeros(1 << 16, np.uint8)
    start = memory.__array_interface__["data"][0]
    part = pinned.PinnedMemory(memory)
    for size in (5000, 8000, 9000):
        part.register(4096, size)
    at = start + 4096
    assert calls == [("on", at, 8192, 0), ("off", at), ("on", at, 12288, 0)]
    errors.append("refused")
    with caplog.at_level(logging.WARNING):
        part.register(0, 10)
        part.register(0, 10)
    assert calls[3:] == [("on", start, 4096, 0)] and "pin_memory: false" in caplog.text
    del memory
    assert calls[4:] == [("off", at)]


class Numbers(torch.utils.data.Dataset):
    dataset_type, dataset_name = "train", "numbers"

    def __init__(self, offset=0):
        self.offset = offset

    def __len__(self):
        return 80

    def __getitems__(self, rows):
        numbers = empty((len(rows), 1000), torch.int64)
        return numbers.copy_(torch.tensor(rows)[:, None] + self.offset)

    def collate(self, batch):
        return batch

    def batch_bytes(self, samples):
        return samples * 8000


def loader_of(dataset, workers=2, persistent=False):
    training = SimpleNamespace(
        batch_size=2, num_workers=workers, pin_memory=False, get=lambda *_: persistent
    )
    return build_dataloader(dataset, training, 0, None, shuffle=False)[0]


def rows_of(batches, offset=0):
    return [int(row) - offset for batch in batches for row in batch[:, -1]]


@pytest.mark.parametrize("persistent", [False, True])
def test_batches_that_are_kept_stay_as_they_are(persistent, large_is_all):
    loader = loader_of(Numbers(), persistent=persistent)
    kept = list(loader)
    iterator = iter(loader)
    kept += [next(iterator) for _ in range(3)]
    stop_workers(loader, iterator)  # ends an epoch early, with batches under way
    kept += list(loader)
    stop_workers(loader)
    expected = [*range(80), *range(6), *range(80)]
    assert rows_of(kept) == expected and all((batch == batch[:, :1]).all() for batch in kept)


def test_batches_that_are_not_kept_all_come_in_slots(large_is_all):
    loader = loader_of(Numbers())
    for _ in range(2):
        where = set()
        for batch in loader:
            assert is_in(loader._ring, batch)
            where.add(batch.data_ptr())
        assert len(where) < 40  # each slot served again
    assert len(loader._ring.memory) >= 2 * loader._ring.slots * 16_000


def test_loaders_and_iterators_side_by_side(large_is_all):
    loaders = [loader_of(Numbers(offset), workers=1) for offset in (0, 1000)]
    iterators = [iter(loader) for loader in (*loaders, loaders[0])]
    taken = [[], [], []]
    for parts in zip(*iterators, strict=True):
        for mine, batch in zip(taken, parts, strict=True):
            mine.append(batch)
    for mine, offset in zip(taken, (0, 1000, 0), strict=True):
        assert rows_of(mine, offset) == list(range(80))


class Failing(Numbers):
    def __getitems__(self, rows):
        made = super().__getitems__(rows)
        if rows[0] == 4:
            raise KeyError("no such image")
        return made


def test_an_error_in_a_worker_is_raised(large_is_all):
    loader = loader_of(Failing(), workers=1, persistent=True)
    for _ in range(2):
        iterator = iter(loader)
        assert rows_of([next(iterator), next(iterator)]) == [0, 1, 2, 3]
        with pytest.raises(KeyError, match="no such image"):
            next(iterator)
        assert rows_of([next(iterator)]) == [6, 7]
    stop_workers(loader)


def number_and_worker(samples):
    return torch.stack([*samples, torch.tensor(get_worker_info().id)])


@pytest.mark.parametrize("reason", ["memory", "spawn"])
def test_without_slots_batches_go_by_value_and_the_log_says_why(reason, monkeypatch, caplog):
    loader = loading.Loader(
        [torch.tensor(4)],
        num_workers=1,
        collate_fn=HandOver(number_and_worker),
        multiprocessing_context="spawn" if reason == "spawn" else None,
    )
    if reason == "memory":
        monkeypatch.setattr(shared_batches, "available_memory", lambda: 1 << 20)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert [batch.tolist() for batch in loader] == [[4, 0]]
    expected = "not forked (spawn)" if reason == "spawn" else "1 MiB are available"
    assert len(caplog.records) == 1 and expected in caplog.text


def test_slots_suit_the_batches_and_the_memory(monkeypatch):
    monkeypatch.setattr(shared_batches, "available_memory", lambda: 64 << 20)
    one = build_ring(1, 2, 1 << 20, pins=False)
    assert one.slots == 6 and 1 << 20 < one.size < 1.2 * (1 << 20)
    many = build_ring(4, 2, 100 << 20, pins=False, processes=2)
    assert many.slots == 4 and many.size == (64 << 20) // 2 // 2 // 16
    unknown = build_ring(1, 2, None, pins=False)
    assert 0 <= len(unknown.memory) - (32 << 20) < 6 * mmap.PAGESIZE


def test_a_killed_epoch_leaves_nothing_in_temporary_folders(tmp_path):
    shared = Path("/dev/shm")
    before = set(os.listdir(shared)) if shared.is_dir() else set()
    environment = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(5):
            assert process.stdout.readline().strip() == "(4, 1000)"
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(workers) == 2
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert os.listdir(tmp_path) == []
    if shared.is_dir():
        assert not {n for n in set(os.listdir(shared)) - before if n.startswith(("torch_", "sem."))}


def test_what_ended_workers_have_written_is_free_again():
    """As of an iteration that was left early; what the parent holds stays its own."""
    ring = Ring(workers=1, slots=2, size=4096)
    assert [ring.take(0) for _ in range(3)] == [0, 1, None]
    ring._states[0] = shared_batches._HELD_BY_PARENT
    ring.recycle()
    assert [ring.take(0) for _ in range(2)] == [1, None]
