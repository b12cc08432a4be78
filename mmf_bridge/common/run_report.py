"""What a training run cost: parameters, memory and time, logged and written at its end."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from array import array
from statistics import median
from typing import Any

import torch

NAME = "run_report.json"


class RunReport:
    """Watches a run from its first batch on.

    Args:
        model: what is trained.
        device: where.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.start = time.perf_counter()
        self._ends = array("d")
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def update_ended(self) -> None:
        """Note the end of an update."""
        self._ends.append(time.perf_counter())

    def figures(self) -> dict[str, Any]:
        """What is known so far.

        Returns:
            ``trainable`` and ``total`` parameters, ``trainable_percent``, ``peak_memory_bytes``
            (on CUDA of tensors, else the resident size of this process since it began),
            ``seconds`` since the start with evaluations and checkpoints, ``updates`` since then,
            ``seconds_per_update``: from the end of one to that of the next, the median, so that
            evaluations between them do not count; None of fewer than two.
        """
        sizes = [(p.numel(), p.requires_grad) for p in self.model.parameters()]
        trainable, total = sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes)
        times = [after - before for before, after in zip(self._ends, self._ends[1:], strict=False)]
        return {
            "trainable": trainable,
            "total": total,
            "trainable_percent": 100 * trainable / total,
            "peak_memory_bytes": peak_memory(self.device),
            "memory_of": "tensors on the GPU" if self.device.type == "cuda" else "the process",
            "seconds": time.perf_counter() - self.start,
            "updates": len(self._ends),
            "seconds_per_update": median(times) if times else None,
        }

    def write(self, folder: str) -> str:
        """Leave `run_report.json` in a folder; one line for the log."""
        found = self.figures()
        path = os.path.join(folder, NAME)
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(found, file, indent=2)
            file.write("\n")
        os.replace(f"{path}.part", path)
        update = found["seconds_per_update"]
        pace = "" if update is None else f" ({update:.3g} s an update)"
        return (
            f"This run trained {found['trainable']:,} of {found['total']:,} parameters "
            f"({found['trainable_percent']:.2f} %): {found['updates']:,} updates in "
            f"{found['seconds']:.1f} s{pace}, peak memory "
            f"{found['peak_memory_bytes'] / 2**20:,.0f} MiB of {found['memory_of']}; {path}"
        )


def peak_memory(device: torch.device) -> int:
    """The largest memory so far, in bytes: of tensors on CUDA, of this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
