"""Every golden file and what measures it: a new file is a module here and a line below."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.golden import classes, clipvil_full, lxmert, pretrain, tuned
from tests.golden.compare import FLOAT32, Deviation, Quantities, compare, load_golden

# Name of the file without `.npz` -> what gives everything that is recorded in it, as our network
# computes it in a dtype; that of the files that have `train/` takes a device, too.
FILES: dict[str, Callable[..., Quantities]] = {
    "clipvil_full": clipvil_full.measure,
    "lxmert": lxmert.measure,
    "pretrain": pretrain.measure,
    "pretrain_subsample": pretrain.measure_subsample,
    **tuned.MEASUREMENTS,
    **classes.MEASUREMENTS,
}

# Files with other numbers -> the module that reads them.
ELSEWHERE: dict[str, str] = {
    "qa_map": "tests/checkpoints/test_answers.py",
    **dict.fromkeys(
        ("traj_full", "traj_unipt", "traj_unipt_carry"), "tests/golden/trajectories.py"
    ),
}


def rows(name: str, backend: str | None = None) -> list[Deviation]:
    """The deviation of our network in float64, compiled or not, from what is recorded."""
    return compare(load_golden(name), FILES[name](backend=backend))


def float32_rows(name: str, backend: str | None = None) -> list[Deviation]:
    """The deviation of our network in float32, compiled or not, from itself in float64."""
    golden, measure = load_golden(name), FILES[name]
    ours = measure(dtype=torch.float32, backend=backend)
    return compare(golden, ours, FLOAT32, reference=measure())
