"""Every golden file and its comparison: a new file is a module here and a line below."""

from __future__ import annotations

from collections.abc import Callable

from tests.golden import clipvil_full, lxmert, pretrain, tuned
from tests.golden.compare import Deviation

# Name of the file without `.npz` -> what compares everything that is recorded in it. Those of the
# image models take a device and a dtype.
FILES: dict[str, Callable[..., list[Deviation]]] = {
    "clipvil_full": clipvil_full.compare,
    "lxmert": lxmert.compare,
    "pretrain": pretrain.compare,
    **tuned.COMPARISONS,
}

# Files with other numbers -> the module that reads them.
ELSEWHERE: dict[str, str] = {
    "qa_map": "tests/checkpoints/test_answers.py",
    **dict.fromkeys(
        ("traj_full", "traj_unipt", "traj_unipt_carry"), "tests/golden/trajectories.py"
    ),
}
