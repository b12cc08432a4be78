"""A model behind a queue: admits requests, reads their images, batches them, counts; no HTTP."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from clipvil_mmf.deploying.asking import Asked, Limits, RefusedError, read_images
from clipvil_mmf.deploying.batcher import Batcher, BatcherClosedError
from clipvil_mmf.deploying.metrics import Metrics
from clipvil_mmf.hub import Answerer, Answers

logger = logging.getLogger(__name__)

LOADING, READY, STOPPING = "loading", "ready", "stopping"


@dataclass(frozen=True)
class Reply:
    """What a client gets."""

    status: int
    content: dict[str, Any]
    retry_after: int | None = None  # seconds


@dataclass(frozen=True)
class _Job:
    asked: Asked
    key: bytes
    pictures: list[np.ndarray]


class Service:
    """Answers requests that come at the same time in one pass of the network.

    Args:
        limits: of a request.
        max_batch: questions of a pass at most.
        max_wait: seconds that a request waits for others.
        threshold: the confidence below which there is no answer, where a request says none.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        max_batch: int = 16,
        max_wait: float = 0.005,
        threshold: float = 0.0,
    ) -> None:
        self.limits = Limits() if limits is None else limits
        self.state = LOADING
        self.answerer: Answerer | None = None
        self._admitted = 0
        self._max_batch, self._threshold = max_batch, threshold
        self.metrics = Metrics(
            {
                "requests_in_progress": ("Requests that are not answered yet.", self._in_progress),
                "queue_requests": ("Requests that wait for a batch.", lambda: len(self._batcher)),
                "ready": ("Whether the model is loaded.", lambda: self.state == READY),
            }
        )
        self._batcher = Batcher(self._compute, max_batch, max_wait, self.metrics.add_batch)
        workers = min(4, os.cpu_count() or 1)  # Pillow decodes without the interpreter lock
        self._readers = ThreadPoolExecutor(workers, "clipvil-images")

    @property
    def images(self) -> int:
        """How many images a question is about."""
        return 1 if self.answerer is None else self.answerer.task.images_per_sample

    def start(self, answerer: Answerer) -> None:
        """Answer by this model from now on; its first pass is done here."""
        blank = [Image.new("RGB", (32, 32))] * answerer.task.images_per_sample
        shown = blank if len(blank) > 1 else blank[0]
        (_, confidence), *_ = answerer.answer(shown, "is it empty?", top_k=1)
        if not math.isfinite(confidence):
            raise ValueError(
                f"{answerer.name} gives {confidence} as a confidence: its weights hold numbers "
                "that are not finite. Fetch or train it again"
            )
        self.answerer = answerer
        if self.state == LOADING:
            self.state = READY

    def close(self) -> None:
        """Take no more requests, and finish those that are there."""
        self.state = STOPPING
        self._batcher.close()
        self._readers.shutdown()

    def health(self) -> Reply:
        """Whether it answers."""
        content: dict[str, Any] = {"status": self.state}
        if self.answerer is not None:
            content["task"] = self.answerer.task.name
            content["answers"] = len(self.answerer.answers)
            content["images_per_question"] = self.images
        return Reply(200 if self.state == READY else 503, content)

    async def reply(self, receive: Callable[[], Awaitable[Asked]]) -> Reply:
        """Answer a request.

        Args:
            receive: waits for the rest of it; raises a ``RefusedError`` for what is not one.
        """
        began = time.monotonic()
        reply = await self._reply(receive)
        self.metrics.add_request(reply.status, time.monotonic() - began)
        return reply

    async def _reply(self, receive: Callable[[], Awaitable[Asked]]) -> Reply:
        received = False

        async def answered() -> Reply:
            nonlocal received
            try:
                asked = await receive()
                received = True
                return Reply(200, await self._answer(asked))
            # Here: one that `wait_for` passes on refers to itself, and keeps what was read until
            # Python collects garbage.
            except RefusedError as error:
                return _refused(error)

        try:
            with self._admission():
                return await asyncio.wait_for(answered(), self.limits.timeout)
        except RefusedError as error:
            return _refused(error)
        except BatcherClosedError:
            return _refused(_unavailable("The server is stopping."))
        except asyncio.TimeoutError:
            within = f"within {self.limits.timeout:g} seconds"
            if not received:
                return _refused(RefusedError(408, f"The request was not complete {within}."))
            return _refused(_unavailable(f"There was no answer {within}."))
        except Exception:  # a client is not told of the inside
            logger.exception("A request failed")
            return _refused(RefusedError(500, "The server failed to answer; its log says why."))

    async def _answer(self, asked: Asked) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        pictures = await loop.run_in_executor(
            self._readers, read_images, asked, self.answerer, self.limits
        )
        job = _Job(asked, asked.key, pictures)
        waiting = self._batcher.submit(job, len(asked.questions))
        found = await asyncio.wrap_future(waiting)
        pairs = zip(asked.questions, found, strict=True)
        threshold = self._threshold if asked.threshold is None else asked.threshold
        return {"answers": [_row(question, best, threshold) for question, best in pairs]}

    def _compute(self, jobs: Sequence[_Job]) -> list[list[Answers]]:
        """The best answers to each question of some requests, whose images are encoded once."""
        assert self.answerer is not None
        pictures = {job.key: job.pictures for job in jobs}
        questions = [(job.key, question) for job in jobs for question in job.asked.questions]
        most = max(job.asked.top_k for job in jobs)
        found = iter(self.answerer.answer_read(pictures, questions, most, self._max_batch))
        return [[next(found)[: job.asked.top_k] for _ in job.asked.questions] for job in jobs]

    @contextmanager
    def _admission(self) -> Iterator[None]:
        """Count a request while it is here; ``RefusedError`` if there are too many, or no model."""
        if self.state != READY:
            raise _unavailable(f"The server is {self.state}.")
        if self._admitted >= self.limits.waiting:
            raise _unavailable(f"{self._admitted} requests are waiting already.")
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    def _in_progress(self) -> float:
        return self._admitted


def _unavailable(message: str) -> RefusedError:
    return RefusedError(503, message, retry_after=1)


def _refused(refusal: RefusedError) -> Reply:
    return Reply(refusal.status, {"error": refusal.message}, refusal.retry_after)


def _row(question: str, best: Answers, threshold: float) -> dict[str, Any]:
    """The answer to a question; none, where the model is less sure than is asked for."""
    answer, confidence = best[0]
    return {
        "question": question,
        "answer": answer if confidence >= threshold else None,
        "confidence": round(confidence, 6),
        "top_answers": [[label, round(part, 6)] for label, part in best],
    }
