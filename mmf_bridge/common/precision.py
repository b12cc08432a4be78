"""``training.precision: fp32 | bf16 | fp16 | auto`` in training and evaluation, on CPU and CUDA."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

logger = logging.getLogger(__name__)

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
AUTO = "auto"
PRECISIONS = (*_DTYPES, AUTO)
# From this generation on CUDA's matrix units take bf16.
_CUDA_CAPABILITY = (8, 0)
# What x86 processors are called that have no instructions for either.
_SLOW = ("DEFAULT", "AVX2")


class Precision:
    """Autocast and loss scaling for one run, by MMF's ``training`` section.

    ``precision`` null means fp32, or fp16 where MMF's older switch ``fp16: true`` asks for it.
    ``auto`` is bf16 where the device has instructions for it, and fp32 elsewhere.

    Attributes:
        name: the precision, never ``auto``.

    Raises:
        ValueError: ``training.precision`` is none of its choices, or contradicts ``fp16``.
    """

    def __init__(self, training: Any, device: torch.device | str) -> None:
        fp16 = bool(training.get("fp16", False))
        name = training.get("precision", None) or ("fp16" if fp16 else "fp32")
        if name not in PRECISIONS:
            raise ValueError(
                f"training.precision is {name!r}: choose one of {', '.join(PRECISIONS)}"
            )
        if fp16 and name != "fp16":
            raise ValueError(
                f"training.fp16 is true but training.precision is {name!r}: keep one of them"
            )
        if name == AUTO:
            name, why = fastest_precision(torch.device(device))
            logger.info("training.precision: auto is %s, as %s", name, why)
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


def fastest_precision(device: torch.device) -> tuple[str, str]:
    """bf16 or fp32, and why: what the device is made for."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        has_bf16 = capability >= _CUDA_CAPABILITY
        what = f"compute capability {'.'.join(map(str, capability))}"
    else:
        # MKL-DNN's own question is answered yes for all of AVX512, where bf16 is emulated.
        has_bf16 = device.type == "cpu" and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
        what = "AVX512_BF16 or AMX" if has_bf16 else "neither AVX512_BF16 nor AMX"
    return ("bf16" if has_bf16 else "fp32"), f"{device} has {what}"
