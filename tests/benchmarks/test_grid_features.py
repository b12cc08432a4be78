"""The benchmark of grid features: it runs in small, and its ratios are those of each round."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from benchmarks import grid_features


def test_in_small(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["grid_features.py", "--size", "tiny", "--rounds", "1"])
    grid_features.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert [row[0] for row in rows] == ["beside the tower", "on features", "on visual tokens"]
    assert all(float(row[3]) > 0 and float(row[5]) > 0 for row in rows)
    assert rows[0][4] == rows[0][6] == "1.00"


def test_a_ratio_is_that_of_a_round() -> None:
    def figures(*steps: float) -> list[SimpleNamespace]:
        return [SimpleNamespace(macs_per_image=1e9, growth=0, step=s, predict=s) for s in steps]

    console = Console(width=120, record=True, file=io.StringIO())
    found = {"a": figures(1, 10, 100), "b": figures(0.5, 4, 10)}
    grid_features.show(found, console, "title")
    row = next(line for line in console.export_text().splitlines() if "│ b" in line)
    assert [cell.strip() for cell in row.split("│")[4:6]] == ["4", "0.40"]
