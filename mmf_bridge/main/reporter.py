"""Patches of ``mmf.common.test_reporter``: what both lines get, on main's parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from mmf_bridge.common.prediction import Reporter
from mmf_bridge.common.replace import replace


def patch(module: ModuleType) -> None:
    """Use the loaders that the trainer has, whose workers may persist."""

    class TestReporter(Reporter, module.TestReporter):
        __doc__ = module.TestReporter.__doc__

        # By dataset; the datamodule sets it.
        loaders: Mapping[str, Any] = MappingProxyType({})

        def get_dataloader(self) -> Any:
            name = self.dataset_names[self.current_datamodule_idx]
            if name not in self.loaders:
                return super().get_dataloader()
            self.current_dataloader = self.loaders[name]
            return self.current_dataloader

        def described(self) -> tuple[str, str, bool]:
            formats = (
                self.config.evaluation.predict_file_format,
                self.test_reporter_config.predict_file_format,
            )
            return self.current_datamodule.dataset_name, self.dataset_type, "csv" in formats

        def log(self, line: str) -> None:
            logging.getLogger(module.__name__).info(line)

    for key in ("default", "file"):
        module.registry.register_test_reporter(key)(TestReporter)
    replace(module, TestReporter)
