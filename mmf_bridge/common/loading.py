"""Data loaders: exact splits over processes, an order that can be resumed, datasets' own hooks."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any
from weakref import WeakSet

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, Sampler

from mmf_bridge.common.distributed import get_rank, get_world_size
from mmf_bridge.common.interruption import ENDINGS, interruption, shield_worker
from mmf_bridge.common.shared_batches import HandOver, Ring, build_ring, ring_of_workers
from mmf_bridge.protocols import BringsBatches, Collates, KnowsBatchBytes

logger = logging.getLogger(__name__)


class EpochBatches(Sampler[list[int]]):
    """A batch sampler that knows its epoch and can start an epoch in its middle.

    ``batches`` has ``set_epoch`` itself, or its ``sampler`` has, or they are always the same;
    ``seed`` is what workers are seeded from, with the epoch.
    """

    def __init__(self, batches: Any, seed: int = 0) -> None:
        self._batches = batches
        self._skip = 0
        self._seed = seed
        # For the loader. Its own: seeding workers must not move the generator that dropout draws
        # from, or a resumed run could not repeat an undisturbed one.
        self.generator = torch.Generator().manual_seed(seed)

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(self._seed + epoch)
        for target in (self._batches, getattr(self._batches, "sampler", None)):
            if hasattr(target, "set_epoch"):
                target.set_epoch(epoch)
                return

    def start_at(self, batch: int) -> None:
        """Let the next iteration, and only that one, begin with this batch of its epoch."""
        self._skip = batch

    def __iter__(self) -> Iterator[list[int]]:
        skip, self._skip = self._skip, 0
        for position, batch in enumerate(self._batches):
            if position >= skip:
                yield batch

    def __len__(self) -> int:
        return len(self._batches)


def build_batch_sampler(dataset: Dataset, batch_size: int, shuffle: bool, seed: int) -> Any:
    """The dataset's own batch sampler, or MMF's: shuffled for training, in order else.

    Without its own, training pads the last batches with repeats, so that all processes take as
    many steps; evaluation never repeats a sample.
    """
    rank, world_size = get_rank(), get_world_size()
    if isinstance(dataset, BringsBatches):
        batches = dataset.build_batch_sampler(batch_size, shuffle, seed, rank, world_size)
        return EpochBatches(batches, seed)
    if batch_size % world_size:
        raise ValueError(
            f"training.batch_size is {batch_size}: it must be divisible by the number of "
            f"processes, {world_size}"
        )
    if shuffle:
        sampler = DistributedSampler(dataset, world_size, rank, shuffle=True, seed=seed)
    else:
        sampler = range(rank, len(dataset), world_size)
    return EpochBatches(BatchSampler(sampler, batch_size // world_size, drop_last=False), seed)


class Loader(DataLoader):
    """A loader that knows its running iterators, and whose workers end with this process alone.

    They are born deaf to the signals that :func:`shield_worker` keeps from them. Batches come in
    shared memory, see :mod:`mmf_bridge.common.shared_batches`, if each may be of so many bytes as
    ``largest_batch`` says; through pipes where there is no room or workers are not forked.
    """

    def __init__(self, *args: Any, largest_batch: int | None = None, **kwargs: Any) -> None:
        self._ring: Ring | None = None
        self._largest_batch = largest_batch
        self._is_pinned = bool(kwargs.get("pin_memory"))
        self._has_warned = False
        super().__init__(*args, **kwargs)

    def __iter__(self) -> Any:
        ring = self._ring_of_iterator()
        # Else a thread would copy every batch into pinned memory.
        self.pin_memory = self._is_pinned and ring is None
        from_main = threading.current_thread() is threading.main_thread()
        self.worker_init_fn = partial(shield_worker, os.getpid(), from_main)
        with interruption.held():
            before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
            try:
                with ring_of_workers(ring):
                    iterator = super().__iter__()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            for queue in getattr(iterator, "_index_queues", ()):
                queue.put = partial(_put, queue)
            if ring is not None:
                ring.workers = iterator._workers
                iterator.ring = ring  # which outlives a loader, and another iteration of it
            vars(self).setdefault("running", WeakSet()).add(iterator)
        return iterator

    def _ring_of_iterator(self) -> Ring | None:
        """The slots of the workers that are to start, or of those that go on."""
        if not self.num_workers:
            return None
        if self._ring is not None:
            if self._iterator is not None:  # persistent workers
                return self._ring
            # Pages that CUDA has pinned before need not be there in workers that are forked now.
            if not self._ring.is_written() and not self._is_pinned:
                self._ring.recycle()
                return self._ring
        elif self._iterator is not None:  # workers that have started without slots
            return None
        start = self.multiprocessing_context or torch.multiprocessing
        try:
            if start.get_start_method() != "fork":
                raise OSError(f"workers are not forked ({start.get_start_method()})")
            self._ring = build_ring(
                self.num_workers,
                self.prefetch_factor,
                self._largest_batch,
                self._is_pinned,
                get_world_size(),
            )
        except OSError as error:
            self._ring = None
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "No shared memory for batches: %s. They go through pipes, which is slower",
                    error,
                )
        return self._ring


def _put(queue: Any, indices: Any) -> None:
    with interruption.held():
        type(queue).put(queue, indices)


def stop_workers(loader: Any, iterator: Any = None) -> None:
    """End the worker processes of a loader, and of an iterator over it that is not used up.

    Left to garbage collection, which may take the queues to a worker first, each is waited for
    five seconds. Left to Python's end, they get one SIGTERM and are waited for without end: it is
    lost where another one, sent to all processes, is still pending.
    """
    own = tuple(getattr(loader, "running", ()))
    for running in (iterator, getattr(loader, "_iterator", None), *own):
        if hasattr(running, "_shutdown_workers"):
            running._shutdown_workers()
    if hasattr(loader, "_iterator"):
        loader._iterator = None  # a new iteration starts new workers


def worker_count(asked: int) -> int:
    """How many workers a loader gets that was to have so many: no more than there are cores."""
    return min(asked, cores())


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_workers(loader: Any) -> bool:
    """Whether a loader's batches are made in processes of their own."""
    return getattr(loader, "num_workers", 0) > 0


def dataloader_of(
    dataset: Any, training: Any, shuffle: bool | None = None
) -> tuple[DataLoader, EpochBatches]:
    """As :func:`build_dataloader`, with the run's seed and MMF's ``BatchCollator``."""
    from mmf.common.batch_collator import BatchCollator
    from mmf.common.registry import registry

    seed = registry.get("sampler_seed", no_warning=True) or 0
    collate = BatchCollator(dataset.dataset_name, dataset.dataset_type)
    return build_dataloader(dataset, training, seed, collate, shuffle)


def build_dataloader(
    dataset: Any,
    training: Any,
    seed: int,
    fallback_collate: Callable[[list[Any]], Any],
    shuffle: bool | None = None,
) -> tuple[DataLoader, EpochBatches]:
    """The loader of one dataset and its batch sampler, by MMF's ``training`` section.

    The order of samples is drawn from ``seed`` and the epoch; by default the train split alone is
    shuffled. ``fallback_collate`` is for datasets without ``collate``.
    """
    if shuffle is None:
        shuffle = dataset.dataset_type == "train"
    collate = dataset.collate if isinstance(dataset, Collates) else fallback_collate
    batches = build_batch_sampler(dataset, training.batch_size, shuffle, seed)
    workers = worker_count(training.num_workers)
    knows = isinstance(dataset, KnowsBatchBytes)
    on_gpu = torch.cuda.is_available() and training.get("device", None) != "cpu"
    loader = Loader(
        dataset=dataset,
        batch_sampler=batches,
        collate_fn=HandOver(collate),
        num_workers=workers,
        pin_memory=bool(training.pin_memory) and on_gpu,
        persistent_workers=workers > 0 and bool(training.get("persistent_workers", False)),
        generator=batches.generator,
        largest_batch=(
            dataset.batch_bytes(-(-training.batch_size // get_world_size())) if knows else None
        ),
    )
    loader.dataset_type = dataset.dataset_type  # MMF reads it
    return loader, batches


def patch_sample_list(module: ModuleType) -> None:
    """Let ``SampleList.copy`` take over the fields of ``mmf.common.sample`` as they are.

    MMF's copy, by which a batch is moved to its device, rejects fields of different lengths; a
    batch of questions carries each of its images once.
    """

    def copy(self: Any) -> Any:
        """A new ``SampleList`` with the same fields, and the same idea of its batch size."""
        clone = type(self)()
        clone.update(self)
        clone._set_tensor_field(self._get_tensor_field())
        return clone

    module.SampleList.copy = copy
