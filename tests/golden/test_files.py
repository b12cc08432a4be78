"""Every quantity of every golden file is within its tolerance, and none is left out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from tests.golden import files
from tests.golden.compare import GOLDEN, Deviation, compare, load_golden, outside
from tests.golden.files import ELSEWHERE, FILES
from tests.golden.report import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", FILES)
def test_every_recorded_quantity_is_within_tolerance(name: str) -> None:
    rows = files.rows(name)
    assert rows and outside(rows) == []


@pytest.mark.parametrize("name", FILES)
def test_float32_is_float64_but_for_rounding(name: str) -> None:
    rows = files.float32_rows(name)
    assert rows and outside(rows) == []


def test_a_quantity_that_is_left_out_is_noticed() -> None:
    ours = dict(FILES["lxmert"]())
    del ours["eval/pooled"]
    with pytest.raises(AssertionError, match="eval/pooled"):
        compare(load_golden("lxmert"), ours)


def test_every_golden_file_is_compared() -> None:
    assert {path.stem for path in GOLDEN.glob("*.npz")} == {*FILES, *ELSEWHERE}
    assert not set(FILES) & set(ELSEWHERE)
    for name, test in ELSEWHERE.items():
        assert f'"{name}' in (ROOT / test).read_text(), test


@pytest.mark.parametrize("absolute", [2.1e-5, float("nan")])
def test_what_is_outside_is_noticed(absolute: float) -> None:
    row = Deviation("pooled", absolute, tolerance=2e-5, largest=1.0)
    assert outside([row]) == [row]
    assert outside([dataclasses.replace(row, absolute=1.9e-5)]) == []


def test_report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.golden.report.REPORTS", {"made_up": {"recorded": lambda: [wrong, right]}}
    )
    right = Deviation("eval/loss", 1e-6, tolerance=1e-5, largest=2.0)
    wrong = Deviation("eval/pooled", 3e-5, tolerance=2e-5, largest=1.0)
    assert main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    row = ["made_up", "recorded", "eval/pooled", "3.00e-05", "2.00e-05", "150.0%"]
    assert lines[1].split() == row
    assert lines[3].startswith("1 quantities") and Counter(lines)[lines[0]] == 1
