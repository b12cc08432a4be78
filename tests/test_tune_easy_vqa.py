"""The script behind `make tune`: what it reads of a run, and when it trains."""

import importlib.util
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from clipvil_mmf.tuning import METHODS

FILE = Path(__file__).resolve().parents[1] / "scripts" / "tune_easy_vqa.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("tune_easy_vqa", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(script, row):
    console = Console(width=120, record=True, file=io.StringIO())
    script.show({"frozen": row}, console)
    return console.export_text()


def test_every_method_is_tuned(script):
    assert script.METHODS.keys() == METHODS.keys()


def test_figures_are_the_score_and_the_report(script, tmp_path):
    report = {
        "trainable": 5000,
        "trainable_percent": 10.0,
        "peak_memory_bytes": 3 * 2**20,
        "seconds_per_update": 0.0234,
        "seconds": 7.4,
        "scores": {"test": {"update": 200, "test/easy_vqa/vqa_score": 0.9215}},
    }
    (tmp_path / "run_report.json").write_text(json.dumps(report))
    text = printed(script, script.figures(tmp_path))
    for part in ("92.15", "5,000", "10.00", "3 MiB", "23 ms", "7 s"):
        assert part in text


def test_a_run_without_a_report(script, tmp_path):
    with pytest.raises(SystemExit, match=r"run_report.json is missing.*--again"):
        script.figures(tmp_path)


def test_a_report_without_a_score(script, tmp_path):
    (tmp_path / "run_report.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"no test/easy_vqa/vqa_score.*--again"):
        script.figures(tmp_path)


def test_a_failing_run_is_named_and_not_taken_for_done(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "SAVE", tmp_path)
    monkeypatch.setattr(script.sys, "executable", "/bin/python")
    monkeypatch.setattr(
        script.subprocess, "run", lambda *a, **k: type("Done", (), {"returncode": 3})
    )
    for _ in range(2):
        with pytest.raises(
            SystemExit, match=r"unipt: mmf_run failed with exit code 3; see .*partial"
        ):
            script.train("easy_vqa_transfer", "unipt", again=False)


def test_what_is_left_of_an_interrupted_run_is_replaced(script, tmp_path, monkeypatch):
    given = []

    def run(command, **_):
        given.append(command)
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(script, "SAVE", tmp_path)
    monkeypatch.setattr(script.subprocess, "run", run)
    (tmp_path / "unipt").mkdir()
    (tmp_path / "unipt" / "current.ckpt").touch()
    script.train("easy_vqa_transfer", "unipt", again=False)
    assert given[0][-1] == "env.overwrite=true"
    script.train("easy_vqa_few", "unipt", again=False, goes_on=True)
    assert given[1][-1] == "checkpoint.resume=true"
    (tmp_path / "unipt" / "current.ckpt").unlink()
    (tmp_path / "unipt" / "tune.log").unlink()
    script.train("easy_vqa_few", "unipt", again=False, goes_on=True)
    assert given[2][-1] == "env.overwrite=true"


def test_what_has_ended_is_not_trained_again(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "SAVE", tmp_path)
    monkeypatch.setattr(script.subprocess, "run", lambda *a, **k: pytest.fail("it was trained"))
    (tmp_path / "unipt").mkdir()
    (tmp_path / "unipt" / "tune.log").touch()
    (tmp_path / "unipt" / "clipvil_final.pth").touch()
    assert script.train("easy_vqa_transfer", "unipt", again=False) == tmp_path / "unipt"
