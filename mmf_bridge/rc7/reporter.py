"""Patches of ``mmf.common.test_reporter``: main's methods on rc7's parts."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mmf_bridge.common.prediction import Reporter
from mmf_bridge.common.replace import replace


def patch(module: ModuleType) -> None:
    """Let evaluation use the reporter too, and both of them the loaders that the trainer has."""

    class TestReporter(Reporter, module.TestReporter):
        __doc__ = module.TestReporter.__doc__

        @property
        def current_dataloader(self) -> Any:
            return self.test_task.loaders[self.current_dataset_idx]

        def get_dataloader(self) -> Any:
            return self.current_dataloader

        def next_dataset(self, flush_report: bool = True) -> bool:
            if flush_report:
                return super().next_dataset()
            self.report = []
            self.current_dataset_idx += 1
            if self.current_dataset_idx == len(self.datasets):
                return False
            self.current_dataset = self.datasets[self.current_dataset_idx]
            return True

        def described(self) -> tuple[str, str, bool]:
            as_csv = self.config.evaluation.predict_file_format == "csv"
            return self.current_dataset.dataset_name, self.task_type, as_csv

        def log(self, line: str) -> None:
            self.writer.write(line)

    replace(module, TestReporter)
