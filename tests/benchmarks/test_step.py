"""The benchmark of a step runs, and prints a row for each variant."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tests.bridge.runs import ROOT

BENCHMARKS = ROOT / "benchmarks"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = BENCHMARKS / "step.py"
    return subprocess.run(
        [sys.executable, "-W", "ignore", script, "--size", "tiny", *arguments],
        capture_output=True,
        text=True,
    )


def test_in_small():
    """bf16 and compiled steps take minutes where the processor has no instructions for it."""
    result = run("--precisions", "fp32", "--modes", "plain", "--rounds", "1")
    assert result.returncode == 0, result.stderr
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if "│" in line]
    assert [[cell.strip() for cell in row[:3]] for row in rows] == [
        [step, "fp32", "plain"] for step in ("prediction", "full step", "UniPT step")
    ]
    assert all(float(row[3]) > 0 and row[5].strip().endswith("%") for row in rows)


def test_what_is_not_a_checkout_is_named(tmp_path):
    result = run("--steps", "prediction", "--modes", "plain", "--published", str(tmp_path))
    assert result.returncode
    assert f"--published {tmp_path}: no CLIP-ViL-Pretrain or CLIP-ViL" in result.stderr


def test_what_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import step

    def too_large() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    variants = [
        step.Variant("plain", "fp32", lambda: torch.ones(9).sum()),
        step.Variant(step.PUBLISHED, "fp32", too_large),
    ]
    step.measure(variants, 1, torch.device("cpu"))
    ours, published = step.rows_of("full step", variants, 10)
    assert float(ours[3]) >= 0 and ours[4] == "-"
    assert published[3] == "out of memory"
