"""The table, the CSV and the picture, from figures that are given."""

from __future__ import annotations

import csv
import io
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clipvil_mmf.profiling.figure import draw
from clipvil_mmf.profiling.measure import Figures, Parameters
from clipvil_mmf.profiling.processes import Request, Row
from clipvil_mmf.profiling.table import COLUMNS, MIB, as_table, footnotes, write_csv

FIGURES = Figures(
    parameters=Parameters(trainable=233_123_456, total=240_000_000),
    macs_per_image=84_560_000_000,
    uncounted={"softmax": 4},
    peak=12_456 * MIB,
    growth=10_456 * MIB,
    memory_by="VmHWM",
    step=0.9123,
    predict=12.34,
    step_operations=91_230_000_000,
    matmul_rate=400e9,
)
ROWS = [Row("adapter", FIGURES), Row("unipt", reason="does not fit", fits=False)]
REQUEST = Request(sections={}, answers=13, optimizer={}, losses=[])
WRITERS = [
    pytest.param(lambda path: write_csv(ROWS, REQUEST, path), id="csv"),
    pytest.param(lambda path: draw(ROWS, "title", path.with_suffix(".png")), id="png"),
]


def shown(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    console.print(as_table(ROWS, "title"))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_terminal_cuts_names_or_figures(width: int) -> None:
    (line,) = [line for line in shown(width) if "adapter" in line]
    expected = "adapter 233,123,456 97.13 84.56 12,456 10,456 912.3 ms 25% 12.34 s"
    assert line.split() == expected.split()


def test_published_sizes_fit_into_80_columns() -> None:
    assert max(len(line.rstrip()) for line in shown(80)) <= 80


def test_all_methods_are_measured_against_the_best_product() -> None:
    slowed = Row("lora", replace(FIGURES, matmul_rate=100e9))
    console = Console(file=io.StringIO(), width=80)
    console.print(as_table([slowed, ROWS[0]], "title"))
    assert console.file.getvalue().count(" 25% ") == 2
    assert any("here: 400 GFLOP/s" in note for note in footnotes([slowed, ROWS[0]]))


def test_footnotes_name_reasons_and_what_is_not_counted() -> None:
    notes = footnotes(ROWS)
    assert notes[0] == "unipt: does not fit"
    assert notes[-2].endswith("a matrix product reaches here: 400 GFLOP/s")
    assert notes[-1] == "not in GMACs: softmax"


def test_csv_holds_figures_or_the_reason(tmp_path: Path) -> None:
    write_csv(ROWS, REQUEST, tmp_path / "profile.csv")
    with (tmp_path / "profile.csv").open(newline="") as file:
        adapter, unipt = csv.DictReader(file)
    assert tuple(adapter) == COLUMNS
    assert adapter["trainable"] == "233123456" and adapter["peak_mib"] == "12456.0"
    assert adapter["step_gflop"] == "91.23" and adapter["utilisation_percent"] == "25.0"
    assert adapter["uncounted_operators"] == "softmax:4" and not adapter["reason"]
    assert unipt["reason"] == "does not fit" and not unipt["trainable"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_leaves_the_old_file_alone(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    for name in ("profile.csv", "profile.png"):
        (tmp_path / name).write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(OSError, match=r"Cannot write .*profile\.\w+: File too large"):
            write(tmp_path / "profile.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "profile.csv": "old",
        "profile.png": "old",
    }


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_in_the_place_of_the_folder_is_named(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError, match=r"Cannot write .*name another folder"):
        write(tmp_path / "out" / "profile.csv")
