"""``training.precision: fp32 | bf16 | fp16`` in training and evaluation, on CPU and CUDA."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

logger = logging.getLogger(__name__)

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = tuple(_DTYPES)
# What x86 processors are called that have no instructions for either.
_SLOW = ("DEFAULT", "AVX2")


class Precision:
    """Autocast and loss scaling for one run, by MMF's ``training`` section.

    ``precision`` null means fp32, or fp16 where MMF's older switch ``fp16: true`` asks for it.

    Raises:
        ValueError: ``training.precision`` is none of its choices, or contradicts ``fp16``.
    """

    def __init__(self, training: Any, device: torch.device | str) -> None:
        fp16 = bool(training.get("fp16", False))
        name = training.get("precision", None) or ("fp16" if fp16 else "fp32")
        if name not in _DTYPES:
            raise ValueError(f"training.precision is {name!r}: choose one of {', '.join(_DTYPES)}")
        if fp16 and name != "fp16":
            raise ValueError(
                f"training.fp16 is true but training.precision is {name!r}: keep one of them"
            )
        self.name = name
        self.dtype = _DTYPES[name]
        self.device_type = torch.device(device).type
        capability = torch.backends.cpu.get_cpu_capability()
        if self.dtype is not None and self.device_type == "cpu" and capability in _SLOW:
            logger.warning(
                "training.precision: this processor (%s) has no instructions for %s, and computes "
                "many times slower in it than in fp32",
                capability,
                name,
            )
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)
