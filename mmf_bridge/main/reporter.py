"""Patches of ``mmf.common.test_reporter``: each question once, ids of any type, whole files."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from mmf_bridge.common.distributed import get_rank, unwrap
from mmf_bridge.common.prediction import gather_rows, write_report
from mmf_bridge.common.replace import replace
from mmf_bridge.main.loading import has_split


def patch(module: ModuleType) -> None:
    """Let every process format its own share; rank 0 writes what all of them have."""
    logger = logging.getLogger(module.__name__)

    class TestReporter(module.TestReporter):
        __doc__ = module.TestReporter.__doc__

        def next_dataset(self, flush_report: bool = True) -> bool:
            more = super().next_dataset(flush_report)
            while more and not has_split(self.current_datamodule, self.dataset_type):
                more = super().next_dataset(flush_report=False)
            return more

        def add_to_report(self, report: Any, model: Any, *args: Any, **kwargs: Any) -> None:
            self._check_current_dataloader()
            results = []
            if hasattr(self.current_dataset, "format_for_prediction"):
                results = self.current_dataset.format_for_prediction(report)
            model = unwrap(model)
            if hasattr(model, "format_for_prediction"):
                results = model.format_for_prediction(results, report)
            self.report.extend(results)

        def postprocess_dataset_report(self) -> None:
            """Give every process the rows of all, and then to the dataset's own hook."""
            order = getattr(self.current_dataloader, "batch_sampler", None)
            self.report = gather_rows(self.report, order)
            super().postprocess_dataset_report()

        def flush_report(self) -> None:
            rows, self.report = self.report, []
            if get_rank() != 0:
                return
            name = self.current_datamodule.dataset_name
            formats = (
                self.config.evaluation.predict_file_format,
                self.test_reporter_config.predict_file_format,
            )
            suffix = "csv" if "csv" in formats else "json"
            split, experiment = self.dataset_type, self.experiment_name
            path = write_report(rows, self.report_folder, name, experiment, split, suffix)
            logger.info(f"Wrote {len(rows)} predictions for {name} to {path}")

    for key in ("default", "file"):
        module.registry.register_test_reporter(key)(TestReporter)
    replace(module, TestReporter)
