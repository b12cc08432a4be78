"""Patches of ``mmf.common.test_reporter``: each question once, ids of any type, whole files."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mmf_bridge.common.distributed import get_rank
from mmf_bridge.common.loading import build_dataloader
from mmf_bridge.common.prediction import gather_rows, write_report
from mmf_bridge.common.replace import replace


def patch(module: ModuleType) -> None:
    """Let every process format its own share; rank 0 writes what all of them have."""

    class TestReporter(module.TestReporter):
        __doc__ = module.TestReporter.__doc__
        _batches: Any = None

        def get_dataloader(self) -> Any:
            dataset = self.current_dataset
            collate = module.BatchCollator(dataset.dataset_name, dataset.dataset_type)
            loader, self._batches = build_dataloader(dataset, self.training_config, 0, collate)
            return loader

        def add_to_report(self, report: Any, model: Any) -> None:
            results = self.current_dataset.format_for_prediction(report)
            if hasattr(model, "format_for_prediction"):
                results = model.format_for_prediction(results, report)
            self.report.extend(results)

        def flush_report(self) -> None:
            rows = gather_rows(self.report, self._batches)
            self.report = []
            if get_rank() != 0:
                return
            name = self.current_dataset.dataset_name
            suffix = "csv" if self.config.evaluation.predict_file_format == "csv" else "json"
            split, experiment = self.task_type, self.experiment_name
            path = write_report(rows, self.report_folder, name, experiment, split, suffix)
            self.writer.write(f"Wrote {len(rows)} predictions for {name} to {path}")

    replace(module, TestReporter)
