"""`clipvil profile`: the table, the CSV and the picture of several methods."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.profiling.processes import Request, Row
from tests.bridge.runs import ROOT

CONFIG = ROOT / "projects" / "clipvil" / "configs" / "vqa2_tiny.yaml"
SMALL = ("--config", str(CONFIG), "--answers", "13", "--words", "200", "--repeats", "1")


def profile(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["profile", *SMALL, *options])
    return result.exit_code, result.output


def test_methods_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, output = profile("--methods", "full,unipt", "--output", str(tmp_path / "out"))
    assert code == 0, output
    with (tmp_path / "out" / "profile.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"full", "unipt"}
    for name in ("full", "unipt"):
        row = rows[name]
        assert name in output and f"{int(row['trainable']):,}" in output
        assert float(row["gmacs_per_image"]) > 0 and float(row["step_seconds"]) > 0
    assert float(rows["full"]["trainable_percent"]) == 100
    assert 0 < float(rows["unipt"]["trainable_percent"]) < 50
    with Image.open(tmp_path / "out" / "profile.png") as picture:
        assert min(picture.size) > 200


def test_a_pretraining_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its heads and losses; the whole network alone is trained."""
    monkeypatch.chdir(ROOT)
    config = "projects/clipvil/configs/pretrain_stage2_tiny.yaml"
    options = ["--config", config, "--answers", "13", "--words", "200", "--repeats", "1"]
    result = CliRunner().invoke(app, ["profile", *options, "--methods", "full,unipt"])
    assert "pre-training trains the whole network" in result.output
    (row,) = [line.split() for line in result.output.splitlines() if line.startswith("full ")]
    assert row[2] == "100.00" and "–" not in row
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("options", "precision", "device"),
    [
        ((), "fp32", "cpu"),
        (("--", "training.precision=bf16"), "bf16", "cpu"),
        (("--precision", "float32", "--", "training.precision=bf16"), "fp32", "cpu"),
        (("--", "training.device=cuda:1"), "fp32", "cuda:1"),
        (("--device", "cuda", "--", "training.device=cpu"), "fp32", "cuda"),
    ],
)
def test_precision_and_device_are_the_runs_unless_given(
    options: tuple[str, ...], precision: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: device != "cpu")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2 * (device != "cpu"))
    asked = []

    def measure(requests: dict[str, Request]) -> list[Row]:
        asked.extend((request.precision, request.device) for request in requests.values())
        return [Row(name, reason="not measured here", fits=False) for name in requests]

    monkeypatch.setattr("clipvil_mmf.cli.profile._measure", measure)
    profile(*options)
    assert asked == [(precision, device)]


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, output = profile("--device", "cuda")
    assert code == 1 and "--device is cuda, but no GPU was found. Give --device=cpu" in output
    code, output = profile("--", "training.device=cuda")
    assert code == 1 and "training.device is cuda, but no GPU was found" in output


def test_a_method_that_does_not_fit_has_its_reason() -> None:
    option = "model_config.clipvil.tuning.params.reduction_factor=5"
    code, output = profile("--", "model_config.clipvil.tuning.method=unipt", option)
    assert "reduction_factor: 5 does not divide" in output.replace("\n", " ")
    assert code != 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "unipd"), "unipt"),
        (("--image-size", "64"), "expected as in 384x640"),
        (("--", "model_config.clipvil.tunin.method=unipt"), "tuning"),
        (("--", "training.precision=fp16"), "fp16 is not measured; choose by --precision"),
    ],
)
def test_what_is_refused(options: tuple[str, ...], message: str) -> None:
    code, output = profile(*options)
    assert code == 1 and message in output, output


def test_the_folder_is_looked_at_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "clipvil_mmf.cli.profile._measure", lambda *_: pytest.fail("it was measured")
    )
    (tmp_path / "taken").touch()
    code, output = profile("--output", str(tmp_path / "taken" / "out"))
    assert code == 1 and "Cannot write into" in output and "--output" in output


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, output = profile("--output", str(tmp_path))
    assert code == 1 and "pip install" in output and "matplotlib" in output
