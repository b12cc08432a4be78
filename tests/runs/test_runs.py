"""`clipvil runs` on folders as runs leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.runs.read import find_runs, read_runs

CONFIG = {
    "model": "clipvil",
    "training": {"max_updates": 900, "batch_size": 256},
    "env": {"save_dir": "save/first"},
    "model_config": {"clipvil": {"tuning": {"method": "full", "params": {}}}},
    "optimizer": {"type": "AdamW", "params": {"lr": 1e-3}},
}
REPORT = {
    "trainable": 50,
    "total": 200,
    "peak_memory_bytes": 3 * 2**20,
    "seconds": 100.0,
    "updates": 900,
    "earlier_seconds": 3600.0,
    "earlier_updates": 100,
    "scores": {
        "criterion": "val/easy_vqa/vqa_score",
        "best": 0.98512,
        "best_update": 1500,
        "val": {"update": 1500, "val/easy_vqa/vqa_score": 0.98512},
        "test": {"update": 1500, "test/total_loss": 0.1, "test/easy_vqa/vqa_score": 0.9761},
    },
}


def leave(folder: Path, report: dict | None = REPORT, **changes) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | changes))
    if report is not None:
        (folder / "run_report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture
def save(tmp_path):
    """Two runs, one that was interrupted early, and what is not a run."""
    lora = {"clipvil": {"tuning": {"method": "lora", "params": {"dim": 16}}}}
    leave(tmp_path / "first")
    leave(
        tmp_path / "tuned" / "lora",
        model_config=lora,
        env={"save_dir": "elsewhere"},
        optimizer={"type": "AdamW", "params": {"lr": 0.01}},
    )
    leave(tmp_path / "tuned" / "new", report=None)
    (tmp_path / "imported").mkdir()
    (tmp_path / "imported" / "config.yaml").write_text("network: {}\n")
    (tmp_path / "notes.txt").write_text("of mine")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["runs", *map(str, arguments)])


def test_one_table_of_runs(save):
    done = run(*save.iterdir())
    assert done.exit_code == 0, done.output
    head, _, *lines = done.stdout.splitlines()
    assert head.split() == [
        *("run", "best", "val/easy_vqa/vqa_score", "test", "trainable", "memory", "updates"),
        *("time", "changed"),
    ]
    rows = {line.split()[0]: line for line in lines if not line.startswith(" ")}
    assert rows.keys() == {"first", "tuned/lora", "tuned/new"}
    figures = "0.9851 @1,500 0.9761 50 (25 %) 3 MiB 1,000 1:01:40"
    assert figures in " ".join(rows["first"].split())
    assert rows["tuned/new"].split()[1:7] == ["–"] * 6
    # Keys in which the runs differ, and none of a place.
    cells = " ".join(done.stdout.split())
    for change in ("tuning.method=lora", "tuning.params.dim=16", "optimizer.params.lr=0.01"):
        assert cells.count(change) == 1
    assert cells.count("tuning.method=full") == 2 and "save_dir" not in cells


def test_changes_are_written_as_they_are_given(tmp_path):
    for name, compiled in (("one", True), ("two", False)):
        training = {"max_updates": 900, "batch_size": 256, "compile": compiled}
        leave(tmp_path / name, training=training)
    cells = " ".join(run(tmp_path).stdout.split())
    assert "training.compile=true" in cells and "training.compile=false" in cells


def test_json(save):
    found = json.loads(run(save / "tuned", "--json").stdout)
    assert [Path(row["name"]).name for row in found] == ["lora", "new"]
    assert found[0]["seconds"] == 3700 and found[0]["test"] == 0.9761
    assert found[0]["changed"]["optimizer.params.lr"] == 0.01 and found[1]["best"] is None


def test_a_picture(save):
    pytest.importorskip("matplotlib")
    done = run(save, "--png", save / "runs.png")
    assert done.exit_code == 0 and f"written: {save / 'runs.png'}" in done.stdout
    with Image.open(save / "runs.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000


def test_keys_of_other_components_are_not_changes(tmp_path):
    """The defaults of another model, or of another line of MMF, are not what somebody changed."""
    leave(tmp_path / "one", training={"max_updates": 900, "batch_size": 256, "callbacks": []})
    leave(tmp_path / "two", model="pythia", model_config={"pythia": {"dropout": 0.1}})
    first, second = read_runs(find_runs([tmp_path]))
    assert first.changed == {"model": "clipvil"} and second.changed == {"model": "pythia"}


@pytest.mark.parametrize(
    ("folder", "text", "message"),
    [
        ("nowhere", None, "nowhere does not exist; expected the folder of a run"),
        ("empty", None, "no run in"),
        ("damaged", "a: [", "config.yaml cannot be read"),
        ("other", "network: {}", "is one of mmf_run's"),
    ],
)
def test_what_is_not_a_run(tmp_path, folder, text, message):
    if folder != "nowhere":
        (tmp_path / folder).mkdir()
    if text is not None:
        (tmp_path / folder / "config.yaml").write_text(text)
    done = run(tmp_path / folder)
    assert done.exit_code == 1 and message in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 6 and "Traceback" not in done.stderr


def test_a_damaged_run_among_others_is_named_and_left_out(save):
    (save / "cut").mkdir()
    (save / "cut" / "config.yaml").write_text("a: [")
    done = run(save, "--json")
    assert done.exit_code == 0 and "cut" not in done.stdout
    assert done.stderr.startswith(f"left out: {save / 'cut' / 'config.yaml'} cannot be read")


def test_a_damaged_report_leaves_its_figures_open(tmp_path):
    folder = leave(tmp_path / "one")
    (folder / "run_report.json").write_text("{")
    (row,) = read_runs([folder])
    assert row.best is None and row.seconds is None


def test_a_picture_has_its_ending(save):
    done = run(save, "--png", save / "runs.txt")
    assert done.exit_code == 1 and "expected a name ending in .png" in done.stderr
