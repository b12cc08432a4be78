"""The golden training steps, traced by torch.compile as one graph, are within the tolerances.

With its backend without generated code; `python -m tests.golden.report --compiled` has inductor.
"""

from __future__ import annotations

import pytest

from tests.golden.clipvil_full import measure_mode
from tests.golden.compare import compare, load_golden, load_tiny, outside
from tests.golden.files import FILES
from tests.golden.tuned import load_tuned


@pytest.mark.parametrize("name", ["clipvil_full", "unipt"])
def test_a_compiled_step(name: str) -> None:
    start = load_tiny() if name == "clipvil_full" else load_tuned(name)
    compiled = measure_mode("train", *start, backend="aot_eager")
    assert outside(compare(load_golden(name), {**FILES[name](), **compiled})) == []
