"""The figures of the log: of a training, means over all that was trained since the line before; of
an evaluation, means over all samples.

Imported by the trainers alone, when MMF is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmf.common.meter import Meter
from mmf.common.registry import registry

from mmf_bridge.common.distributed import reduce_dict
from mmf_bridge.common.evaluation import LossAverage


class TrainingMeter(Meter):
    """A line of the log has the mean over the samples of all processes since the line before.

    Stock MMF's has the median of the last twenty batches that happened to be logged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.losses = LossAverage()

    def add(self, report: Any) -> None:
        """Take the losses of a batch; nothing waits for the device."""
        total = sum(loss.detach().float().mean() for loss in report.losses.values())
        named = {**report.losses, f"{report.dataset_type}/total_loss": total}
        self.losses.add(named, report.batch_size)

    def finish_line(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Take the mean losses since the last line, and metrics; all processes have to call it."""
        means, count = self.losses.mean()
        self.losses = LossAverage()
        for name, value in means.items():
            if name.endswith("/total_loss"):
                registry.register(name, value)
        for name, value in {**means, **reduce_dict(dict(metrics))}.items():
            self.meters[name].update(float(value), count)
        return means

    def get_log_dict(self) -> dict[str, str]:
        """What a line shows: the newest value of each figure."""
        return {name: f"{value.get_latest():.4f}" for name, value in self.meters.items()}


class EvaluationMeter(Meter):
    """MMF's meter of an evaluation, with exact averages over the samples of all processes.

    ``avg`` and ``median`` of a loss stay those of this process's last batches, for callbacks that
    read them; TensorBoard gets the average, not the last batch.
    """

    def add_batch(self, report: Any) -> None:
        """Take the losses of a batch into the window; nothing waits for the device."""
        for name, loss in report.losses.items():
            value = self.meters[name]
            sums = value.total, value.total_samples
            value.update(loss.detach().float().mean(), report.batch_size)
            value.total, value.total_samples = sums

    def add(self, figures: Mapping[str, float], count: int) -> None:
        """Take the means over the ``count`` samples of a dataset."""
        for name, figure in figures.items():
            value = self.meters[name]
            if value.count:
                value.total += figure * count
                value.total_samples += count
            else:
                value.update(figure, count)

    def get_scalar_dict(self) -> dict[str, float]:
        return {name: value.global_avg for name, value in self.meters.items()}
