"""Every golden file and its comparison: a new file is a module here and a line below."""

from __future__ import annotations

from collections.abc import Callable

from tests.golden import clipvil_full, lxmert, pretrain
from tests.golden.compare import Deviation

# Name of the file without `.npz` -> what compares everything that is recorded in it.
FILES: dict[str, Callable[[], list[Deviation]]] = {
    "clipvil_full": clipvil_full.compare,
    "lxmert": lxmert.compare,
    "pretrain": pretrain.compare,
}

# Files with other numbers, or whose state dicts alone are used so far -> the test that reads them.
ELSEWHERE: dict[str, str] = {
    "qa_map": "tests/checkpoints/test_answers.py",
    **dict.fromkeys(
        ("traj_full", "traj_unipt", "traj_unipt_carry"), "tests/golden/trajectories.py"
    ),
    **dict.fromkeys(
        ("adapter", "adapter_vis", "lora", "lst", "sherl", "unipt"),
        "tests/checkpoints/test_round_trip.py",
    ),
}
