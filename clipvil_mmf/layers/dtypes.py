"""Precisions: how they are spelled, and half precision made whole."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "bf16")
_OLD_NAMES = {"float32": "fp32", "bfloat16": "bf16"}


def precision_name(key: str, name: str) -> str:
    """The name of a precision, as training.precision spells it; the one before is taken too."""
    if name not in _OLD_NAMES:
        return name
    logger.warning("%s: %s is called %s now", key, name, _OLD_NAMES[name])
    return _OLD_NAMES[name]


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 stay what they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
