"""Metrics and losses over a whole split and over all processes."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch

from mmf_bridge.common.distributed import gather_objects, get_world_size
from mmf_bridge.protocols import MeanOfSamples


class NoTargetsError(ValueError):
    """A split lacks what the metrics compare with, such as ``targets``."""

    def __init__(self, dataset_type: str, dataset_name: str, lacks: str) -> None:
        super().__init__(
            f"the {dataset_type} split of {dataset_name} has no {lacks}, which the metrics need. "
            "For an unlabelled split, run mmf_predict, or evaluation.predict=true"
        )


class FieldAccumulator:
    """Keep some fields of each batch's report and join them once at the end.

    Stock MMF joins all it has so far with each new batch, which copies O(N^2) bytes.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self._fields = list(fields)
        self._tensors: dict[str, list[torch.Tensor]] = {}
        self._lists: dict[str, list[Any]] = {}

    def add(self, report: Mapping[str, Any], batch_size: int) -> None:
        """Take the kept fields of a batch: tensors ``(batch_size, ...)`` and lists."""
        for name in self._fields:
            value = report.get(name)
            if isinstance(value, torch.Tensor) and value.dim() and len(value) == batch_size:
                # A copy: it may be a view of a larger tensor.
                self._tensors.setdefault(name, []).append(value.clone())
            elif isinstance(value, list):
                self._lists.setdefault(name, []).extend(value)

    def joined(self) -> dict[str, Any]:
        """The fields of all samples of all processes: tensors ``(N, ...)`` and lists of N."""
        names = list(self._tensors)
        fields: dict[str, Any] = {name: torch.cat(self._tensors.pop(name)) for name in names}
        fields.update(self._lists)
        if get_world_size() < 2:
            return fields
        # Queues of tensors would share memory files; plain arrays travel by value.
        shards = gather_objects({k: _to_plain(v) for k, v in fields.items()})
        shards = [shard for shard in shards if shard]
        joined: dict[str, Any] = {}
        for name in shards[0] if shards else ():
            parts = [shard[name] for shard in shards]
            if isinstance(parts[0], list):
                joined[name] = [item for part in parts for item in part]
            else:
                whole = torch.cat([torch.from_numpy(part) for part in parts])
                joined[name] = whole.to(fields[name]) if name in fields else whole
        return joined


def _to_plain(value: Any) -> Any:
    """A tensor as an array (numpy has no bfloat16: float32 holds its values); a list as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    return (value.float() if value.dtype == torch.bfloat16 else value).cpu().numpy()


class LossAverage:
    """Sample-weighted mean of each named loss over batches and over all processes."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: Counter[str] = Counter()
        self._count = 0

    def add(self, losses: Mapping[str, torch.Tensor], batch_size: int) -> None:
        for name, value in losses.items():
            total = value.detach().float().mean().double() * batch_size
            self._sums[name] = self._sums[name] + total if name in self._sums else total
            self._counts[name] += batch_size
        self._count += batch_size

    def mean(self) -> tuple[dict[str, float], int]:
        """The means by name, each over the batches that have it, and the number of samples."""
        own = {name: (value.item(), self._counts[name]) for name, value in self._sums.items()}
        shards = gather_objects((own, self._count))
        names = dict.fromkeys(name for shard, _ in shards for name in shard)
        found = {name: [shard[name] for shard, _ in shards if name in shard] for name in names}
        means = {
            name: sum(total for total, _ in parts) / sum(count for _, count in parts)
            for name, parts in found.items()
        }
        return means, sum(count for _, count in shards)


class MetricMeans:
    """Metrics that are means over samples, batch by batch, so that no field is held for them."""

    def __init__(self, metrics: Any) -> None:
        """Take MMF's ``Metrics`` apart; ``others`` are those that need a whole split."""
        means, others = {}, {}
        for name, metric in metrics.metrics.items():
            is_mean = isinstance(metric, MeanOfSamples) and metric.mean_of_samples
            (means if is_mean else others)[name] = metric
        self._metrics, self.others = _with(metrics, means), _with(metrics, others)
        self._average = LossAverage()
        self._missing: set[str] = set()

    def add(self, report: Any) -> None:
        """Take a batch; ``report`` is MMF's ``Report`` of it."""
        missing = fields_of(self._metrics) - set(report.keys())
        self._missing |= missing
        if self._metrics.metrics and not missing:
            self._average.add(self._metrics(report, report), report.batch_size)

    def mean(self) -> tuple[dict[str, torch.Tensor], set[str]]:
        """The values, (1,) float32 by name as ``Metrics`` names them, and the fields that lacked.

        All processes have to call it.
        """
        if not self._metrics.metrics:
            return {}, set()
        missing = set().union(*gather_objects(self._missing))
        values, _ = self._average.mean()
        return {name: torch.tensor([value]) for name, value in values.items()}, missing


def fields_of(metrics: Any, without: Collection[str] = ()) -> set[str]:
    """The fields of a report that MMF's ``Metrics`` compute from, but these."""
    return metrics.required_params - {"dataset_name", "dataset_type", *without}


def _with(metrics: Any, some: Mapping[str, Any]) -> Any:
    """``Metrics`` of some of the metrics alone."""
    part = copy.copy(metrics)
    part.metrics = dict(some)
    part.required_params = {name for metric in some.values() for name in metric.required_params}
    return part
