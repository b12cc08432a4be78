"""Batches on the device: the next one is copied while the current one is computed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch

from mmf_bridge.common.pinned import copy_stream

_Batch = TypeVar("_Batch")


class CopyStream:
    """Copies to a CUDA device beside what it computes."""

    def __init__(self, device: torch.device) -> None:
        self._stream = copy_stream(device)

    def begin(self, bring: Callable[[], _Batch]) -> tuple[_Batch, Any]:
        """What ``bring`` returns, whose copies go their own way, and an event after these."""
        with torch.cuda.stream(self._stream):
            batch = bring()
            return batch, self._stream.record_event()

    def finish(self, batch: Any, event: Any) -> None:
        """Let computations from now on wait for the copies of a batch."""
        current = torch.cuda.current_stream(self._stream.device)
        current.wait_event(event)
        for tensor in tensors_of(batch):
            if tensor.is_cuda:
                # Its memory comes from the other stream, which must not reuse it before this one.
                tensor.record_stream(current)


def on_device(
    batches: Iterable[Any],
    move: Callable[[Any], Any],
    device: torch.device,
    ahead: bool,
    copies: Any = None,
) -> Iterator[Any]:
    """The batches, each on its device.

    Args:
        batches: where they come from; they may be moved to the device there already.
        move: brings a batch to the device; those of pinned memory asynchronously.
        device: on a CPU nothing is done ahead.
        ahead: take a batch, and begin to copy it, before the one in front of it is given out. Not
            for batches whose making draws random numbers that a checkpoint holds.
        copies: in place of ``CopyStream(device)``.
    """
    if copies is None:
        if device.type != "cuda":
            for batch in batches:
                yield move(batch)
            return
        copies = CopyStream(device)
    source, end = iter(batches), object()

    def bring() -> Any:
        batch = next(source, end)
        return end if batch is end else move(batch)

    waiting = copies.begin(bring)
    while waiting[0] is not end:
        batch, event = waiting
        if ahead:
            waiting = copies.begin(bring)
        copies.finish(batch, event)
        yield batch
        if not ahead:
            waiting = copies.begin(bring)


def tensors_of(batch: Any) -> Iterator[torch.Tensor]:
    """The tensors of a batch, also those in mappings, lists and tuples in it."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, Mapping | list | tuple):
        for value in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors_of(value)
