"""``training.device``: ``cpu``, ``cuda`` (each process its own GPU) or ``cuda:1`` (that GPU)."""

from __future__ import annotations

import re

import torch

_GPU = re.compile(r"cuda(:\d+)?")


def check_device(name: str, where: str = "training.device") -> str:
    """``name``, if this machine has the device.

    Raises:
        ValueError: it has not, or this names no device.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (gpus and name == "cuda"):
        return name
    if _GPU.fullmatch(name) and not gpus:
        raise ValueError(
            f"{where} is {name}, but no GPU was found. Give {where}=cpu, or see to it that "
            "torch.cuda.is_available() is true: a driver, and a torch that was built for it"
        )
    choices = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{number}" for number in range(gpus))]
    if name not in choices:
        raise ValueError(f"{where} is {name}: this machine has {', '.join(choices)}")
    return name


def gpu_number(name: str) -> int | None:
    """The 1 of ``cuda:1``; None where no GPU is named by its number."""
    match = _GPU.fullmatch(name)
    return int(match[1][1:]) if match and match[1] else None
