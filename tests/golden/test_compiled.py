"""The golden training steps, compiled by inductor in one graph, are within the same tolerances."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.clipvil_full import measure_mode
from tests.golden.compare import compare, load_golden, load_tiny, outside
from tests.golden.files import FILES
from tests.golden.tuned import load_tuned


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clipvil_full", "unipt"])
def test_a_compiled_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    start = load_tiny() if name == "clipvil_full" else load_tuned(name)
    compiled = measure_mode("train", *start, backend="inductor")
    assert outside(compare(load_golden(name), {**FILES[name](), **compiled})) == []
