"""Imports Lightning, whose classes MMF main derives from, without what it hardly uses.

Stock Lightning imports `torch._dynamo` for a class of compiled modules, and torchmetrics for two
classes; and torchmetrics imports torchvision, transformers and scipy.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from importlib import metadata
from typing import Any
from unittest import mock

from mmf_bridge.lazy import lent

_METRICS = {"Metric": "torchmetrics.metric", "MetricCollection": "torchmetrics.collections"}


def import_lightly(_name: str) -> None:
    """Import `pytorch_lightning`, unless somebody has done so already."""
    if "pytorch_lightning" in sys.modules or importlib.util.find_spec("pytorch_lightning") is None:
        return
    import torch

    if "torchmetrics" not in sys.modules and importlib.util.find_spec("torchmetrics"):
        _delay_torchmetrics()

    def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
        # The same, but for the reason; it imports torch._dynamo when the function is called.
        return torch._disable_dynamo(fn, recursive)

    with lent("torch._dynamo"), mock.patch.object(torch.compiler, "disable", disable):
        importlib.import_module("pytorch_lightning")


def _delay_torchmetrics() -> None:
    """Let `torchmetrics` execute its `__init__` when more is asked of it than Lightning does."""
    spec = importlib.util.find_spec("torchmetrics")
    module = importlib.util.module_from_spec(spec)
    # What its modules and Lightning ask of it beside the two classes.
    module.__version__ = metadata.version("torchmetrics")
    module._logger = logging.getLogger("torchmetrics")

    def __getattr__(name: str) -> Any:  # noqa: N807 (Python's name)
        if name in _METRICS:
            importlib.import_module("torchmetrics.utilities")  # it and `metric` import each other
            return getattr(importlib.import_module(_METRICS[name]), name)
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module 'torchmetrics' has no attribute {name!r}")
        del module.__getattr__
        spec.loader.exec_module(module)
        return getattr(module, name)

    module.__getattr__ = __getattr__
    sys.modules["torchmetrics"] = module
