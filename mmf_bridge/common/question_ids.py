"""Patches of MMF's own VQA datasets: question ids that are strings, or too long for 32 bits."""

from __future__ import annotations

import inspect
import textwrap
from numbers import Integral
from types import ModuleType
from typing import Any

import torch

from mmf_bridge.common.source import edited

_EDITS = {
    'torch.tensor(\n        sample_info["question_id"], dtype=torch.int\n    )': (
        'keep_id(\n        sample_info["question_id"]\n    )'
    ),
    'sample_info["image_id"], dtype=torch.int': 'sample_info["image_id"], dtype=torch.int64',
    "question_id.item()": "plain_id(question_id)",
}


def patch(module: ModuleType) -> None:
    """Edit the methods of the module's datasets that read and write question ids."""
    module.keep_id, module.plain_id = keep_id, plain_id
    done = 0
    for cls in list(vars(module).values()):
        if not inspect.isclass(cls) or cls.__module__ != module.__name__:
            continue
        for name, function in list(vars(cls).items()):
            if inspect.isfunction(function):
                source = textwrap.dedent(inspect.getsource(function))
                edits = {old: new for old, new in _EDITS.items() if old in source}
                if edits:
                    setattr(cls, name, edited(function, edits))
                    done += 1
    if not done:
        raise LookupError(f"{module.__name__} reads question ids in another way than expected")


def keep_id(value: Any) -> torch.Tensor | str:
    """A question id as a sample keeps it: int64 () for numbers, else the string."""
    return torch.tensor(int(value)) if isinstance(value, Integral) else str(value)


def plain_id(value: torch.Tensor | str) -> int | str:
    """A question id as JSON writes it."""
    return value.item() if isinstance(value, torch.Tensor) else value
