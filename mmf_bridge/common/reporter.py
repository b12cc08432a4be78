"""Patches of ``mmf.common.test_reporter``: each question once, ids of any type, whole files."""

from __future__ import annotations

from typing import Any

from mmf_bridge.common.distributed import get_rank, unwrap
from mmf_bridge.common.prediction import gather_rows, write_report


class Reporter:
    """Mixed into a line's ``TestReporter``: every process formats its own share; rank 0 writes
    what all of them have. The line has ``current_dataset``, ``current_dataloader``, ``log(line)``
    and :meth:`described`.
    """

    def described(self) -> tuple[str, str, bool]:
        """The names of dataset and split, and whether they are written as CSV."""
        raise NotImplementedError

    def add_to_report(self, report: Any, model: Any, *args: Any, **kwargs: Any) -> None:
        rows, dataset, model = [], self.current_dataset, unwrap(model)
        if hasattr(dataset, "format_for_prediction"):
            rows = dataset.format_for_prediction(report)
        if hasattr(model, "format_for_prediction"):
            rows = model.format_for_prediction(rows, report)
        self.report.extend(rows)

    def postprocess_dataset_report(self) -> None:
        """Give every process the rows of all, and then to the dataset's own hook of main's."""
        order = getattr(self.current_dataloader, "batch_sampler", None)
        self.report = gather_rows(self.report, order)
        if hasattr(self.current_dataset, "on_prediction_end"):
            self.report = self.current_dataset.on_prediction_end(self.report)

    def flush_report(self) -> None:
        rows, self.report = self.report, []
        if get_rank() != 0:
            return
        name, split, as_csv = self.described()
        suffix = "csv" if as_csv else "json"
        path = write_report(rows, self.report_folder, name, self.experiment_name, split, suffix)
        self.log(f"Wrote {len(rows)} predictions for {name} to {path}")
