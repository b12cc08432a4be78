"""Questions in batches: of one canvas each, every image read and encoded once, answers in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from clipvil_mmf.data.images import BadImageError
from clipvil_mmf.inference.pictures import Picture, is_picture, picture_key
from clipvil_mmf.tasks import Task
from clipvil_mmf.text_files import half_character

# In batches: the samples of an iterator that are looked at together, and for how many images a
# batch that is not full is waited with, as the answers behind it wait too.
_WINDOW = 8


class Sample(NamedTuple):
    """A question and what it is about."""

    images: tuple[Picture, ...]  # as many as the task has
    question: str

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Equal for samples of the same images."""
        return tuple(map(picture_key, self.images))


class Batch(NamedTuple):
    """Samples for one pass of the network; there are more than asked for of one image alone."""

    pictures: list[np.ndarray]  # (3, H, W) uint8 each, of one shape; a sample's follow one another
    index: list[int]  # of each question, the number of its images among these
    rows: list[int]  # of each question, its place among the samples


def as_sample(given: Any, task: Task, where: str = "") -> Sample:
    """A sample of a task.

    Args:
        given: ``(image, question)`` or ``{"image": ..., "question": ...}``; several images are a
            list.
        task: it says how many.
        where: in front of every message.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(given, Mapping):
        if not {"image", "question"} <= given.keys():
            raise ValueError(f"{where}got the keys {list(given)}, expected image and question.")
        image, question = given["image"], given["question"]
    elif isinstance(given, (tuple, list)) and len(given) == 2:
        image, question = given
    else:
        what = f"a {type(given).__name__}"
        raise ValueError(
            f"{where}got {what}, expected (image, question) or a mapping with both names."
        )
    if not isinstance(question, str):
        raise ValueError(f"{where}question: got {question!r}, expected a text.")
    if half_character(question) is not None:
        raise ValueError(f"{where}question: got {question!r:.80}, expected Unicode text.")
    shown = (image,) if is_picture(image) else tuple(image) if _is_list(image) else ()
    if not shown or not all(map(is_picture, shown)):
        raise ValueError(
            f"{where}image: got {image!r:.80}, expected a PIL image, a file, an http(s) address, "
            "bytes or an array."
        )
    count, wanted = len(shown), task.images_per_sample
    if count != wanted:
        raise ValueError(
            f"{where}{count} image{'s' * (count != 1)} for a question of the task {task.name}: "
            f"expected {wanted}{', in a list' * (wanted > 1)}."
        )
    return Sample(shown, question)


def in_batches(
    samples: Sequence[Sample],
    read: Callable[[tuple[Picture, ...]], Sequence[np.ndarray]],
    answer: Callable[[Batch], Sequence[Any]],
    batch_size: int,
    workers: int | None = None,
) -> Iterator[Any]:
    """Yield what ``answer`` gives for each sample, in the order of the samples.

    Args:
        samples: all of them; those of the same images go into one batch, wherever they stand.
        read: images of a sample -> its pictures, called once for each, in the workers.
        answer: a batch -> a result for each of its questions, called in this thread.
        batch_size: questions of a batch at most.
        workers: threads that read images while batches are computed; 0 reads them in between,
            None takes as many as there are processors, up to 4.

    Yields:
        Results; for samples whose images cannot be read, the ``BadImageError``.
    """
    groups: dict[tuple[Hashable, ...], list[int]] = {}
    for row, sample in enumerate(samples):
        groups.setdefault(sample.key, []).append(row)
    shown = [samples[rows[0]].images for rows in groups.values()]
    pictures = _read_ahead(read, shown, workers, 2 * batch_size)
    results: dict[int, Any] = {}
    row = 0
    for rows, found in _batches(zip(groups.values(), pictures, strict=True), batch_size):
        given = [found] * len(rows) if isinstance(found, BadImageError) else answer(found)
        results.update(zip(rows, given, strict=True))
        while row in results:
            yield results.pop(row)
            row += 1


def windows(samples: Iterable[Sample], batch_size: int) -> Iterator[list[Sample]]:
    """Cut an iterator into lists of some batches; questions that follow on one image stay together.

    More on one image than such a list holds are cut all the same.
    """
    size = _WINDOW * batch_size
    window: list[Sample] = []
    for sample in samples:
        if len(window) >= size:
            held = len(window)
            while held and window[held - 1].key == sample.key:
                held -= 1
            held = held or len(window)
            yield window[:held]
            window = window[held:]
        window.append(sample)
    if window:
        yield window


def _read_ahead(
    read: Callable[[Any], Any], items: Iterable[Any], workers: int | None, ahead: int
) -> Iterator[Any]:
    """What ``read`` gives for each item, in order; a ``BadImageError`` that it raises."""

    def found(item: Any) -> Any:
        try:
            return read(item)
        except BadImageError as error:
            return error

    workers = min(4, os.cpu_count() or 1) if workers is None else workers
    if workers == 0:
        yield from map(found, items)
        return
    # PIL decodes without the interpreter lock.
    pool = ThreadPoolExecutor(workers, "clipvil-images")
    pending: deque[Future[Any]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(found, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(
    groups: Iterable[tuple[list[int], Any]], batch_size: int
) -> Iterator[tuple[list[int], Batch | BadImageError]]:
    """Fill batches of each canvas with rows of the same images; the rows are given beside each."""
    filling: dict[tuple[int, ...], tuple[int, Batch]] = {}  # canvas -> when it was begun, batch
    for number, (rows, pictures) in enumerate(groups):
        if isinstance(pictures, BadImageError):
            yield rows, pictures
            continue
        shape = pictures[0].shape
        for canvas, (begun, batch) in list(filling.items()):
            is_full = canvas == shape and len(batch.rows) + len(rows) > batch_size
            if is_full or number - begun > _WINDOW * batch_size:
                del filling[canvas]
                yield batch.rows, batch
        _, batch = filling.setdefault(shape, (number, Batch([], [], [])))
        batch.index.extend([len(batch.pictures) // len(pictures)] * len(rows))
        batch.pictures.extend(pictures)
        batch.rows.extend(rows)
        if len(batch.rows) >= batch_size:
            del filling[shape]
            yield batch.rows, batch
    for _, batch in filling.values():
        yield batch.rows, batch


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
