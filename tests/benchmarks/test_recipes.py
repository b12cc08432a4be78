"""The benchmark of recipes: which it runs, in which order, and its table; MMF is a stub."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import recipes

# Writes what the commands leave, and notes their words; mmf_run fails where it is asked to.
STUB = """#!/bin/sh
echo "$(basename $0) $*" >> "$CALLS"
case "$*" in *detect*) echo main;; esac
case "$*" in *"$FAILS"*) echo "it failed here"; exit 3;; esac
for word in "$@"; do
    case $word in env.save_dir=*) folder=${word#env.save_dir=};; esac
done
test -z "$folder" && exit 0
mkdir -p "$folder/reports"
echo '{"updates": 2}' > "$folder/run_report.json"
echo weights > "$folder/clipvil_final.pth"
echo rows > "$folder/reports/rows_1.json"
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run the benchmark; returns its exit code, what it prints and what it calls."""
    for name in ("python", "mmf_run", "mmf_predict", "clipvil"):
        (tmp_path / name).write_text(STUB)
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"
    monkeypatch.setenv("CALLS", str(calls))

    def start(*words: str, fails: str = "nothing of this") -> tuple[int, str, list[str]]:
        monkeypatch.setenv("FAILS", fails)
        given = ["--python", str(tmp_path / "python"), "--folder", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["recipes.py", *words, *given])
        with pytest.raises(SystemExit) as ended:
            recipes.main()
        return ended.value.code, capsys.readouterr().out, calls.read_text().splitlines()[1:]

    return start


def test_every_recipe_is_there() -> None:
    patterns = ("pretrain_*", "snli_ve*", "nlvr2*", "*_grid*")
    files = {file.stem for pattern in patterns for file in recipes.CONFIGS.glob(f"{pattern}.yaml")}
    assert {name for name in files if not name.endswith("_tiny")} == set(recipes.RECIPES)
    assert {recipe.tiny for recipe in recipes.RECIPES.values()} - {None} <= files


def test_a_second_stage_comes_after_its_first(run, tmp_path: Path) -> None:
    code, printed, calls = run("pretrain_stage2", "--sizes", "full", "--batch-size", "3")
    assert code == 0
    assert [call.split()[0] for call in calls] == ["mmf_run", "mmf_run"]
    first, second = calls
    assert "pretrain_stage1.yaml" in first and "pretrained=" not in first
    start = tmp_path / "out" / "full" / "pretrain_stage1"
    assert "pretrain_stage2.yaml" in second and f"pretrained={start}" in second
    assert "training.batch_size=3" in second and "training.max_updates=2" in second
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    rows = [row for row in rows if row]
    assert [row[:4] for row in rows] == [
        [f"pretrain_stage{stage}", "full", "mmf_run", "2"] for stage in (1, 2)
    ]
    assert all(float(row[5].replace(",", "")) > 0 for row in rows)
    assert rows[0][6].startswith("clipvil_final.pth")
    # Weights of the full size are kept as long as another recipe starts from them.
    assert start.is_dir() and not start.with_name("pretrain_stage2").exists()


def test_in_small_it_goes_on_to_the_result_file(run) -> None:
    code, printed, calls = run("snli_ve_unipt", "mcan_grid", "--sizes", "tiny")
    assert code == 0
    assert [" ".join(call.split()[:2]) for call in calls] == [
        f"mmf_run config={recipes.CONFIGS / 'snli_ve_tiny.yaml'}",
        f"mmf_predict config={recipes.CONFIGS / 'snli_ve_tiny.yaml'}",
        f"mmf_run config={recipes.CONFIGS / 'vqa2_tiny.yaml'}",
        "clipvil features",
        f"mmf_run config={recipes.CONFIGS / 'mcan_grid_tiny.yaml'}",
        f"mmf_predict config={recipes.CONFIGS / 'mcan_grid_tiny.yaml'}",
    ]
    assert "model_config.clipvil.tuning.method=unipt" in calls[0]
    assert printed.count("rows_1.json") == 2


def test_a_failure_is_shown_and_the_others_run(run) -> None:
    code, printed, calls = run("snli_ve", "nlvr2", "--sizes", "tiny", fails="snli_ve_tiny.yaml")
    assert code == 1
    assert "it failed here" in printed and "failed: exit code 3" in printed
    assert [call.split()[0] for call in calls] == ["mmf_run", "mmf_run", "mmf_predict"]


def test_interrupted_it_prints_what_has_ended(run, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = recipes.measured

    def measure(command, log):
        if any("nlvr2" in str(word) for word in command):
            raise KeyboardInterrupt
        return measured(command, log)

    monkeypatch.setattr(recipes, "measured", measure)
    code, printed, calls = run("snli_ve", "nlvr2", "snli_ve_unipt", "--sizes", "full")
    assert code == 130 and "interrupted" in printed
    assert len(calls) == 2 and all("snli_ve" in call for call in calls)
    rows = [line for line in printed.splitlines() if line.startswith("│")]
    assert [row.split("│")[1].strip() for row in rows] == ["snli_ve", "snli_ve_unipt"]


def test_what_a_process_costs(tmp_path: Path) -> None:
    code = "import sys; found = bytearray(100 * 2**20); print(len(found)); sys.exit(4)"
    cost = recipes.measured([sys.executable, "-c", code], tmp_path / "log")
    assert cost.exit_code == 4 and cost.seconds > 0
    assert cost.peak > 100 * 2**20  # or that of the process that starts it
    assert (tmp_path / "log").read_text().strip() == str(100 * 2**20)


def test_an_unknown_recipe_is_named() -> None:
    script = Path(recipes.__file__)
    done = subprocess.run([sys.executable, script, "snli"], capture_output=True, text=True)
    assert done.returncode == 2 and "unknown recipe 'snli'; expected some of" in done.stderr
