"""Batches of data loader workers in memory that is shared with their parent.

The parent maps a ring of slots before it forks the workers: anonymous memory, of which nothing is
left in ``/dev/shm`` or a temporary folder however processes end, and no socket is needed. A worker
puts the tensors of a batch into a slot of its own and sends the rest: a small pickle (protocol 5,
whose buffers lie in the slot) and the slot's number. The parent's tensors lie in the slot; once the
last of them is gone, the worker may fill it anew. What finds no room goes through the pipe.
"""

from __future__ import annotations

import io
import itertools
import logging
import mmap
import os
import pickle
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from mmf_bridge.common.free_memory import available_memory
from mmf_bridge.common.pinned import PinnedMemory, copies_under_way

logger = logging.getLogger(__name__)

# Batches that a trainer holds at once: the current one, the one before it while the next one is
# fetched, and one on its way to the device.
_HELD = 3
# Bytes of a slot for a dataset that does not say how large its batches are, and what a slot must
# have where memory is short. Memory is only taken for what is written.
_DEFAULT_SIZE, _LEAST_SIZE = 256 << 20, 1 << 20
_SPARE = 64 << 10  # bytes of a slot for what a dataset has not counted
_ALIGNMENT = 64
# Tensors below these bytes are copied out of their slot: metrics may keep them for a whole split.
_SMALL = 1 << 20

_FREE, _WRITTEN, _HELD_BY_PARENT = 0, 1, 2

_numbers = itertools.count()
_rings: weakref.WeakValueDictionary[int, Ring] = weakref.WeakValueDictionary()
# Of the workers that are being started; in a worker, its own.
_ring_of_workers: Ring | None = None
_writer: _Writer | None = None


def empty(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A new tensor for the batch that is being made: in its slot, where a worker has room there.

    What it holds is undefined. In a worker it belongs to this batch alone, and must not be kept.
    """
    writer = _writer_of_worker()
    return torch.empty(*shape, dtype=dtype) if writer is None else writer.empty(shape, dtype)


class HandOver:
    """A collate function whose batches leave a worker in shared memory.

    By value where the worker has no slots. torch's own way passes tensors as open shared memory, of
    which containers often have little, and makes a socket in the temporary folder for each worker;
    one that is killed leaves it there.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        batch = self._collate(samples)
        if get_worker_info() is None:
            return batch
        writer = _writer_of_worker()
        # At once: torch pickles in a thread, when the slot may be somebody else's.
        return _Message(pickle.loads, _pickled(batch)) if writer is None else writer.message(batch)


@contextmanager
def ring_of_workers(ring: Ring | None) -> Iterator[None]:
    """Give the workers that are forked in this block their slots."""
    global _ring_of_workers
    _ring_of_workers = ring
    try:
        yield
    finally:
        _ring_of_workers = None


def build_ring(
    workers: int, prefetched: int, largest: int | None, pins: bool, processes: int = 1
) -> Ring:
    """Map slots enough for the workers of a loader.

    Args:
        workers: how many there are.
        prefetched: batches that each prepares ahead.
        largest: bytes of a batch at most, if that is known. Slots are smaller where memory is
            short: half of what is available may be taken.
        pins: register the slots with CUDA.
        processes: that share the machine's memory, each with such workers.

    Raises:
        OSError: there is no room; the message says why.
    """
    slots = prefetched + -(-_HELD // workers) + 1  # one is being written
    available = available_memory() // (2 * processes * workers * slots)
    wanted = _DEFAULT_SIZE if largest is None else largest + largest // 16 + _SPARE
    size = min(wanted, available)
    if size < min(wanted, _LEAST_SIZE):
        raise OSError(f"{available_memory() >> 20} MiB are available")
    return Ring(workers, slots, size, pins)


class Ring:
    """The slots of a loader's workers; made by the process that forks these.

    Args:
        workers: how many there are.
        slots: of each worker.
        size: bytes of a slot; rounded up to whole pages.
        pins: register with CUDA what arrives in slots, so that copies to it are asynchronous.

    Raises:
        OSError: the system does not give so much memory.
    """

    def __init__(self, workers: int, slots: int, size: int, pins: bool = False) -> None:
        self.slots = slots
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        count = workers * slots
        self.memory = np.frombuffer(mmap.mmap(-1, count * self.size), np.uint8)
        # Who may write to each slot: its worker (free, written) or nobody. Each change is made by
        # one process. The last byte is for the log.
        self._states = np.frombuffer(mmap.mmap(-1, count + 1), np.uint8)
        self.workers: Sequence[Any] = ()  # the processes that write to it
        self._owner = os.getpid()
        self._pinned = PinnedMemory(self.memory) if pins else None
        self._copied_from: list[tuple[int, list[Any]]] = []
        self.number = next(_numbers)
        _rings[self.number] = self

    def is_written(self) -> bool:
        """Whether a worker that may write to it is alive."""
        return any(worker.is_alive() for worker in self.workers)

    def recycle(self) -> None:
        """Take back what workers have written that nobody received; they must have ended."""
        self._states[:-1][self._states[:-1] == _WRITTEN] = _FREE

    def take(self, worker: int) -> int | None:
        """A free slot of a worker, which is the one that calls this; None if there is none."""
        for slot in range(worker * self.slots, (worker + 1) * self.slots):
            if self._states[slot] == _FREE:
                self._states[slot] = _WRITTEN
                return slot
        return None

    def give_back(self, slot: int) -> None:
        """Let the worker fill a slot anew."""
        self._states[slot] = _FREE

    def tell_once(self, message: str, *arguments: Any) -> None:
        """A line in the log; nothing where this or another worker has written one."""
        if not self._states[-1]:
            self._states[-1] = 1
            logger.warning(message, *arguments)

    def receive(self, slot: int, pickled: bytes, places: list[tuple[int, int]]) -> Any:
        """The batch in a slot, whose buffers are ``places``: (offset, bytes) in it."""
        self._states[slot] = _HELD_BY_PARENT
        self._free_copied()
        start = slot * self.size
        used = max(offset + count for offset, count in places)
        # All tensors in the slot keep this array, and it tells when they are gone.
        lease = self.memory[start : start + used]
        weakref.finalize(lease, self._dropped, slot).atexit = False
        if self._pinned is not None:
            self._pinned.register(start, used)
        whole = memoryview(lease)
        parts = (whole[offset : offset + count] for offset, count in places)
        return pickle.loads(
            pickled, buffers=[bytearray(part) if len(part) < _SMALL else part for part in parts]
        )

    def _dropped(self, slot: int) -> None:
        """Give a slot back when what is being copied from it to a GPU has arrived."""
        if os.getpid() != self._owner:  # a forked process has got rid of its view
            return
        copies = copies_under_way() if self._pinned is not None else []
        if copies:
            self._copied_from.append((slot, copies))
        else:
            self.give_back(slot)

    def _free_copied(self) -> None:
        waiting, self._copied_from = self._copied_from, []  # garbage collection may append to it
        for slot, copies in waiting:
            if all(copy.query() for copy in copies):
                self.give_back(slot)
            else:
                self._copied_from.append((slot, copies))


class _Writer:
    """A worker's way into its slots."""

    def __init__(self, ring: Ring, worker: int) -> None:
        self._ring, self._worker = ring, worker
        self._slot: int | None = None  # of the batch that is being made
        self._used = 0  # bytes of it

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        room = self._room(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        if room is None:
            return torch.empty(*shape, dtype=dtype)
        return torch.frombuffer(room, dtype=dtype).view(*shape)

    def message(self, batch: Any) -> _Message:
        """What is sent of a batch."""
        places: list[tuple[int, int]] = []

        def leave_in_pickle(buffer: pickle.PickleBuffer) -> bool:
            place = self._place(buffer.raw())
            if place is not None:
                places.append(place)
            return place is None

        slot = None
        try:
            pickled = _pickled(batch, leave_in_pickle)
            if places:
                slot = self._slot
        finally:
            if self._slot is not None and slot is None:
                self._ring.give_back(self._slot)
            self._slot = None
        if slot is None:
            return _Message(pickle.loads, pickled)
        return _Message(_received, self._ring.number, slot, pickled, places)

    def _place(self, content: memoryview) -> tuple[int, int] | None:
        """Where in the slot these bytes are, put there if need be; None if there is no room."""
        if not content.nbytes:
            return None
        source = np.frombuffer(content, np.uint8)
        if self._slot is not None:
            offset = _address(source) - self._slot_address()
            if 0 <= offset < self._ring.size:
                return offset, source.nbytes
        room = self._room(source.nbytes)
        if room is None:
            return None
        room[:] = source
        return _address(room) - self._slot_address(), source.nbytes

    def _room(self, count: int) -> np.ndarray | None:
        """So many unused bytes of the slot, or None."""
        if not count:
            return None
        if self._slot is None:
            self._slot, self._used = self._ring.take(self._worker), 0
        if self._slot is None:
            self._ring.tell_once(
                "Batches that the run holds on to fill the %d slots of a worker: others go "
                "through its pipe, which is slower",
                self._ring.slots,
            )
            return None
        start = -(-self._used // _ALIGNMENT) * _ALIGNMENT
        if start + count > self._ring.size:
            self._ring.tell_once(
                "A batch is larger than its slot of shared memory (%.1f MiB): what does not fit "
                "goes through a pipe, which is slower",
                self._ring.size / 2**20,
            )
            return None
        self._used = start + count
        start += self._slot * self._ring.size
        return self._ring.memory[start : start + count]

    def _slot_address(self) -> int:
        return _address(self._ring.memory) + self._slot * self._ring.size


class _Message:
    """What leaves a worker: a function and its arguments, called where it arrives."""

    def __init__(self, receive: Callable[..., Any], *arguments: Any) -> None:
        self._receive, self._arguments = receive, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._receive, self._arguments


def _received(number: int, *arguments: Any) -> Any:
    return _rings[number].receive(*arguments)


def _writer_of_worker() -> _Writer | None:
    """This worker's, if it has slots."""
    global _writer
    worker = get_worker_info()
    if worker is None or _ring_of_workers is None:
        return None
    if _writer is None:
        _writer = _Writer(_ring_of_workers, worker.id)
    return _writer


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _pickled(
    value: Any, leave_in_pickle: Callable[[pickle.PickleBuffer], bool] | None = None
) -> bytes:
    """A pickle; buffers that ``leave_in_pickle`` says no of are left out."""
    written = io.BytesIO()
    _Pickler(written, 5, buffer_callback=leave_in_pickle).dump(value)
    return written.getvalue()


class _Pickler(pickle.Pickler):
    """Writes a tensor's numbers, not its place in memory."""

    def reducer_override(self, value: Any) -> Any:
        plain = isinstance(value, torch.Tensor) and value.layout is torch.strided
        if not plain or value.device.type != "cpu" or value.is_quantized:
            return NotImplemented  # plain pickle, which writes other tensors in torch's own format
        value = value.detach().resolve_conj().resolve_neg()
        # In the order of its memory, such as NHWC; what is not dense is copied.
        order = sorted(range(value.ndim), key=lambda i: (-value.stride(i), -value.shape[i]))
        ordered = value.permute(order)
        if not ordered.is_contiguous():
            order = list(range(value.ndim))
            ordered = value.contiguous()
        flat = ordered.reshape(-1).view(torch.uint8).numpy()
        back = sorted(range(value.ndim), key=order.__getitem__)
        return _tensor, (pickle.PickleBuffer(flat), value.dtype, tuple(ordered.shape), back)


def _tensor(
    content: Any, dtype: torch.dtype, shape: tuple[int, ...], order: list[int]
) -> torch.Tensor:
    """The tensor whose numbers are these bytes, its dimensions put in this order."""
    if not len(content):
        return torch.empty(shape, dtype=dtype).permute(order)
    return torch.frombuffer(content, dtype=dtype).view(shape).permute(order)
