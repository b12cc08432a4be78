"""What a training run cost; a report never ends a run, and says what it could not find out."""

from __future__ import annotations

import json
import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import Any

import torch

from mmf_bridge.common.resident import peak_resident
from mmf_bridge.common.whole_files import whole_file
from mmf_bridge.protocols import CountsMultiplyAdds

NAME = "run_report.json"
_PREDICTIONS = 3  # that are timed


class RunReport:
    """Watches a run from its first batch on; ``autocast`` makes the context of a forward pass."""

    def __init__(
        self,
        model: torch.nn.Module,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.model = model
        self.device = device
        self.autocast = autocast
        self.multiply_adds: int | None = None
        self.start = time.perf_counter()
        self.failures: list[str] = []
        self.scores: dict[str, Any] = {}
        self.earlier = {"updates": 0, "seconds": 0.0}
        self.written: dict[str, Any] | None = None  # the last figures
        self._prediction: float | None = None
        self._ends = array("d")
        self._waited = 0.0
        self._batch: Any = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def go_on(self, folder: str) -> None:
        """Take over the scores, updates and seconds of the runs that this one goes on from."""
        before = read_report(folder)
        self.scores = dict(before.get("scores", {}))
        for key in self.earlier:
            self.earlier[key] = before.get(key, 0) + before.get(f"earlier_{key}", 0)

    def batch_begins(self, batch: Any) -> None:
        """Note a batch that is to be trained on; the work is counted on the first one."""
        if self._batch is None and isinstance(self.model, CountsMultiplyAdds):
            with self.autocast():
                self.multiply_adds = self._attempt(
                    "multiply-adds", lambda: self.model.multiply_adds(copy_fields(batch))
                )
        self._batch = copy_fields(batch)

    def timed(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches that are trained on, noting how long each is waited for."""
        source, end = iter(batches), object()
        while True:
            began = time.perf_counter()
            batch = next(source, end)
            self._waited += time.perf_counter() - began
            if batch is end:
                return
            yield batch

    def update_ended(self) -> None:
        self._ends.append(time.perf_counter())

    def figures(self, predicts: bool = True) -> dict[str, Any]:
        """What is known so far; None stands for what is not.

        Without ``predicts`` no predictions are made for ``seconds_per_prediction``.

        ``seconds`` since the start include evaluations and checkpoints; ``seconds_per_update``, the
        median from the end of one to that of the next, does not. ``seconds_waiting_for_data``, of
        the training alone, include the start of the workers. ``multiply_adds`` and
        ``seconds_per_prediction`` are of one sample, in a batch of the training's size. Figures
        called ``earlier_`` are of the runs that this one went on from.
        """
        seconds = time.perf_counter() - self.start
        if predicts:
            self._prediction = self._attempt("the time of a prediction", self._predict)
        sizes = [(p.numel(), p.requires_grad) for p in self.model.parameters()]
        trainable, total = sum(n for n, is_trained in sizes if is_trained), sum(n for n, _ in sizes)
        times = [after - before for before, after in zip(self._ends, self._ends[1:], strict=False)]
        return {
            "trainable": trainable,
            "total": total,
            "trainable_percent": 100 * trainable / total,
            "multiply_adds": self.multiply_adds,
            "peak_memory_bytes": peak_memory(self.device),
            "memory_of": "tensors on the GPU" if self.device.type == "cuda" else "the process",
            "seconds": seconds,
            "seconds_waiting_for_data": self._waited,
            "updates": len(self._ends),
            "seconds_per_update": median(times) if times else None,
            "seconds_per_prediction": self._prediction,
            "earlier_updates": self.earlier["updates"],
            "earlier_seconds": self.earlier["seconds"],
            "scores": self.scores,
            "failures": self.failures,
        }

    def _attempt(self, what: str, find_out: Callable[[], Any]) -> Any:
        """What a function returns; None where it fails, which is noted."""
        try:
            return find_out()
        except Exception as error:  # noqa: BLE001
            lines = str(error).strip().splitlines() or [""]
            self.failures.append(f"{what}: {type(error).__name__}: {lines[0]}")
            return None

    @torch.no_grad()
    def _predict(self) -> float | None:
        """Predict the last batch again; a first time sets up what is not to be timed."""
        if self._batch is None:
            return None
        training = self.model.training
        self.model.eval()
        times = []
        try:
            for _ in range(1 + _PREDICTIONS):
                batch = copy_fields(self._batch)
                begin = time.perf_counter()
                with self.autocast():
                    self.model.forward(batch)  # a call would compute the loss as well
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                times.append(time.perf_counter() - begin)
        finally:
            self.model.train(training)
        return median(times[1:]) / self._batch.get_batch_size()

    def write(self, folder: str, predicts: bool = True) -> str:
        """Leave `run_report.json` in a folder; one line for the log. See :meth:`figures`."""
        found = self.written = self.figures(predicts)
        path = os.path.join(folder, NAME)
        try:
            _write(path, found)
        except OSError as error:
            self.failures.append(f"{path} could not be written: {error.strerror}")
        update, prediction = found["seconds_per_update"], found["seconds_per_prediction"]
        pace = "" if update is None else f" ({update:.3g} s an update)"
        work = "" if self.multiply_adds is None else f"{self.multiply_adds / 1e9:,.3g} GMACs, "
        answer = "" if prediction is None else f"a prediction takes {work}{prediction:.3g} s; "
        return (
            f"This run trained {found['trainable']:,} of {found['total']:,} parameters "
            f"({found['trainable_percent']:.2f} %): {found['updates']:,} updates in "
            f"{found['seconds']:.1f} s{pace}, peak memory "
            f"{found['peak_memory_bytes'] / 2**20:,.0f} MiB of {found['memory_of']}; {answer}{path}"
            + "".join(f"; not found out: {failure}" for failure in self.failures)
        )

    def ended(self, folder: str) -> None:
        """Take the peak of memory again, in a report that stands: the final files have a share."""
        if self.written is None:
            return
        self.written["peak_memory_bytes"] = peak_memory(self.device)
        try:
            _write(os.path.join(folder, NAME), self.written)
        except OSError as error:
            self.failures.append(f"{NAME} could not be written again: {error.strerror}")


def read_report(folder: str) -> dict[str, Any]:
    """What ``run_report.json`` of a folder says; nothing where it is absent or damaged."""
    try:
        with open(os.path.join(folder, NAME), encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note_scores(folder: str, scores: Mapping[str, Any]) -> None:
    """Add the scores of an evaluation to the report of a folder, by split.

    Raises:
        OSError: it cannot be written.
    """
    found = read_report(folder)
    found["scores"] = {**found.get("scores", {}), **scores}
    _write(os.path.join(folder, NAME), found)


def _write(path: str, found: Mapping[str, Any]) -> None:
    with whole_file(path) as file:
        file.write((json.dumps(found, indent=2) + "\n").encode())


def copy_fields(batch: Any) -> Any:
    """A batch whose fields may be replaced, added and taken away; its tensors are shared.

    MMF's models keep what they compute in the batch that they are given.
    """
    if isinstance(batch, Mapping):
        copied = batch.copy() if hasattr(batch, "copy") else dict(batch)
        for key, value in batch.items():
            copied[key] = copy_fields(value)
        return copied
    return list(batch) if isinstance(batch, list) else batch


def peak_memory(device: torch.device) -> int:
    """The largest memory so far, in bytes: of tensors on CUDA, of this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident()
