"""Mends of ``mmf.common.test_reporter``: each question once, ids of any type, whole files."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from mmf_bridge.common.distributed import get_rank
from mmf_bridge.common.loading import build_dataloader
from mmf_bridge.common.prediction import gather_rows, write_rows
from mmf_bridge.common.replace import replace


def mend(module: ModuleType) -> None:
    """Let every process format its own share; rank 0 writes what all of them have."""

    class TestReporter(module.TestReporter):
        __doc__ = module.TestReporter.__doc__

        def get_dataloader(self) -> Any:
            dataset = self.current_dataset
            collate = module.BatchCollator(dataset.dataset_name, dataset.dataset_type)
            loader, _ = build_dataloader(dataset, self.training_config, 0, collate)
            return loader

        def add_to_report(self, report: Any, model: Any) -> None:
            results = self.current_dataset.format_for_prediction(report)
            if hasattr(model, "format_for_prediction"):
                results = model.format_for_prediction(results, report)
            self.report.extend(results)

        def flush_report(self) -> None:
            rows = gather_rows(self.report)
            self.report = []
            if get_rank() != 0:
                return
            time = self.timer.get_time_hhmmss(None, format="%Y-%m-%dT%H:%M:%S")
            name = self.current_dataset.dataset_name
            parts = [name, self.experiment_name, self.task_type, time]
            suffix = "csv" if self.config.evaluation.predict_file_format == "csv" else "json"
            filename = "_".join(part for part in parts if part) + f".{suffix}"
            path = os.path.abspath(os.path.join(self.report_folder, filename))
            write_rows(rows, path)
            self.writer.write(f"Wrote {len(rows)} predictions for {name} to {path}")

    replace(module, TestReporter)
