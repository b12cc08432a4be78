"""What a run says on its console, and what only its log says."""

import fcntl
import json
import logging
import os
import pty
import re
import struct
import sys
import termios
import threading
import warnings
from contextlib import contextmanager

import pytest

from mmf_bridge.common import console, progress
from mmf_bridge.common.loading import cores
from tests.bridge.runs import Run, run_here

SHORT = ("run_type=train_inference", "training.max_updates=20")
PROGRESS = r"\d+/20 epoch \d loss \S+ lr \S+( \S+ (it/s|s/it) eta \d+:\d\d)?"


def test_a_run_says_a_few_lines(tmp_path, capfd):
    run_here(tmp_path, *SHORT)
    said = capfd.readouterr()
    assert said.err == "" and "\r" not in said.out and "\x1b" not in said.out
    lines = said.out.splitlines()
    labels = [line.split()[0] for line in lines if not line.startswith(" ")]
    start = ["run", "loading", "model", "data", "recipe", "length", "device", "saves", "resume"]
    training = ["1/20", "5/20", "10/20", "val", "15/20", "20/20", "val", "restoring", "test"]
    assert labels == [*start, *training, "done", "scores", "files", "next"]
    log = Run(tmp_path).log()
    assert lines[0].startswith("run      tiny on tiny, train_inference; the log is ")
    assert os.path.isfile(lines[0].split()[-1])
    assert lines[2:4] == [
        "model    43 parameters, all trainable",
        "         norm 16, linear 27",
    ]
    assert lines[4] == "data     tiny: train 52, val 23, test 23"
    assert "AdamW, lr 0.01, warmup_linear, batch 8, seed 1" in lines[5]
    assert "20 updates = 2.86 epochs of 7; a line every 5, validation every 10" in lines[6]
    assert lines[7].startswith("device   cpu, ") and lines[7].endswith(", fp32, no workers")
    assert f"{tmp_path}, the best by val/tiny/accuracy" in lines[8]
    shown = [line for line in lines if re.match(r"\d+/", line)]
    assert all(re.fullmatch(PROGRESS, line) for line in shown)
    # What the log says, the console says in short.
    logged = re.findall(r"progress: (\d+)/20, .*train/total_loss: ([0-9.]+)", log)
    for (update, loss), line in zip(logged, shown[1:], strict=True):
        assert line.startswith(f"{update}/20 ")
        assert float(line.split()[4]) == pytest.approx(float(loss), abs=1e-3)
    found = next(line for line in lines if line.startswith("val "))
    assert re.fullmatch(r"val 0\.\d+ \(best 0\.\d+ @\d+\) loss \d\.\d+", found)
    assert "===== Model =====" in log and "Linear(in_features=8" in log
    assert "model    43 parameters" in log and "done     20 updates" in log


def test_the_end_names_score_files_and_the_next_command(tmp_path, capfd):
    trained = run_here(tmp_path, *SHORT)
    end = capfd.readouterr().out.splitlines()[-4:]
    stopping = trained.trainer.early_stopping
    best, update = stopping.best_monitored_value, stopping.best_monitored_update
    assert end[0].startswith("done     20 updates in ") and "peak memory" in end[0]
    assert f"val/tiny/accuracy {progress.short(best)} @{update}, test 0." in end[1]
    for name in ("best.ckpt", "current.ckpt", "tiny_final.pth", "run_report.json"):
        assert name in end[2]
    program, *options = end[3].removeprefix("next").split()
    assert program == "mmf_predict" and "run_type=train_inference" not in options
    run_here(tmp_path, *[o for o in options if not o.startswith("config=")], predict=True)
    said = capfd.readouterr().out
    assert "tiny on tiny, predicts" in said and "Checkpoint loaded: update" in said
    assert re.search(r"Wrote 23 predictions for tiny to \S+\.json", said)
    assert "recipe" not in said and "\r" not in said


def test_max_updates_that_do_not_count_are_a_warning(tmp_path, capfd):
    def said(name, *opts):
        changes = {"training.max_epochs": 1}
        run_here(tmp_path / name, "run_type=train", *opts, changes=changes)
        return capfd.readouterr().out

    warning = "warning: training.max_updates=3 has no effect, as training.max_epochs is 1"
    assert warning in said("idle", "training.max_updates=3")
    assert "has no effect" not in said("epochs")
    counts = said("updates", "training.max_epochs=null", "training.max_updates=3")
    assert "has no effect" not in counts and "done     3 updates" in counts


def test_the_log_is_named_from_the_working_folder(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_here(tmp_path / "save", "run_type=val")
    named = capfd.readouterr().out.splitlines()[0].split()[-1]
    assert named.startswith("save/") and os.path.isfile(named)


def test_what_is_logged_goes_where_it_belongs(tmp_path, capfd):
    run_here(tmp_path, "run_type=val", "checkpoint.resume=false")
    capfd.readouterr()
    plugin, mmf, other = map(logging.getLogger, ("tests.x", "mmf.models.x", "somebody.x"))
    plugin.info("plugin's line")
    plugin.info("plugin's line for the log", extra={"console": False})
    mmf.info("mmf's line")
    mmf.warning("mmf's warning")
    other.warning("somebody's warning")
    other.error("somebody's error")
    warnings.warn("a warning of Python's", stacklevel=1)
    said = capfd.readouterr()
    assert said.out.splitlines() == [
        "plugin's line",
        "warning: mmf's warning",
        "error: somebody's error",
    ]
    assert said.err == ""
    log = Run(tmp_path).log()
    expected = ("plugin's line", "plugin's line for the log", "mmf's warning", "somebody's warning")
    for line in (*expected, "somebody's error"):
        assert line in log


def test_the_level_debug_shows_all_of_the_log(tmp_path, capfd):
    run_here(tmp_path, "run_type=train", "training.max_updates=5", "training.logger_level=debug")
    said = capfd.readouterr().out
    assert "===== Model =====" in said and "progress: 5/5" in said


@pytest.mark.parametrize("setting", [None, "NO_COLOR=1", "TERM=dumb", "stdout", "stderr"])
def test_who_watches(monkeypatch, setting):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda name=name: name != setting)
    if setting and "=" in setting:
        monkeypatch.setenv(*setting.split("="))
    assert console.is_watched() is (setting is None)


@contextmanager
def terminal(monkeypatch):
    """A pseudo-terminal in the place of stdout and stderr; a list gets all that it is told."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    told = []

    def read():
        try:
            while piece := os.read(master, 65536):
                told.append(piece.decode())
        except OSError:  # its other end is closed
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    file = os.fdopen(slave, "w", buffering=1, encoding="utf-8")
    with monkeypatch.context() as patches, file:
        patches.setattr(sys, "stdout", file)
        patches.setattr(sys, "stderr", file)
        yield told
    reader.join(10)
    os.close(master)


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(tmp_path, monkeypatch):
    with terminal(monkeypatch) as told:
        run_here(tmp_path, *SHORT, "training.log_interval=10")
    said = "".join(told)
    # What a terminal shows in the end of each line: the last thing that was drawn there.
    lines = said.replace("\r\n", "\n").split("\n")
    shown = [line.split("\r")[-1].strip() for line in lines]
    assert re.search(r"\r +5%\|.*\| 1/20 epoch 1 loss \d\S+ lr \S+", said)
    assert "validating" in said and "testing" in said
    kept = [line for line in shown if re.match(r"\d+/20 ", line)]
    assert [line.split()[0] for line in kept] == ["10/20", "20/20"]
    assert not any("%|" in line for line in shown) and "\x1b" not in said
    assert sum(line.startswith("val 0.") for line in shown) == 2


def test_long_work_says_how_far_it_is(monkeypatch, capfd):
    monkeypatch.setattr(progress, "SILENCE", 0.0)
    monkeypatch.setattr(console._speaker, "handlers", [])
    assert list(progress.track("abc", "reading", "files")) == list("abc")
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(" eta ")[0] for line in lines] == [
        f"reading {done}/3 files" for done in (1, 2, 3)
    ]
    list(progress.track("abc", "reading", shown=False))
    assert not capfd.readouterr().err


def test_short_work_says_nothing(capfd):
    list(progress.track(range(1000), "reading"))
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_figures_in_short():
    values = (0.985, 0.04321, 4.2e-4, 1e-3, 0.0, 8.23456, 1234.5, 3.0e-7)
    expected = ["0.985", "0.04321", "4.2e-4", "0.001", "0", "8.235", "1234", "3e-7"]
    assert [progress.short(value) for value in values] == expected
    assert [progress.clock(seconds) for seconds in (24.2, 725, 11400)] == [
        *("0:24", "12:05", "3:10:00")
    ]
    assert [progress.speed(rate) for rate in (15.0, 0.4)] == ["15 it/s", "2.5 s/it"]


def test_the_pace_leaves_out_the_first_update_and_evaluations(monkeypatch):
    clock = iter([0.0, 10.0, 11.0, 50.0, 51.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    pace = progress.Pace()
    pace.update_ended()
    assert pace.rate is None
    pace.update_ended()
    pace.go_on()
    pace.update_ended()
    assert pace.rate == 1


def test_there_are_no_more_workers_than_cores(tmp_path, capfd):
    run = run_here(tmp_path, "run_type=train", "training.max_updates=1", "training.num_workers=99")
    assert run.trainer.train_loader.first_loader.num_workers == cores()
    said = re.search(
        r"device .*, (\d+) workers? \(not 99, as there (is|are) (\d+) cores?\)",
        capfd.readouterr().out,
    )
    assert int(said[1]) == int(said[3]) == cores()
    # Another machine may have more.
    assert "num_workers: 99" in (tmp_path / "config.yaml").read_text()


def test_the_report_has_the_scores_of_the_whole_run(tmp_path):
    run = run_here(tmp_path, *SHORT, "run_type=train")
    report = json.loads((tmp_path / "run_report.json").read_text())
    scores, stopping = report["scores"], run.trainer.early_stopping
    assert scores["criterion"] == "val/tiny/accuracy"
    assert scores["best"] == scores["val"]["val/tiny/accuracy"] == stopping.best_monitored_value
    assert scores["best_update"] == scores["val"]["update"] == stopping.best_monitored_update
    longer = run_here(
        tmp_path, "run_type=train", "training.max_updates=25", "checkpoint.resume=true"
    )
    resumed = json.loads((tmp_path / "run_report.json").read_text())
    assert (resumed["updates"], resumed["earlier_updates"]) == (5, 20)
    assert resumed["earlier_seconds"] == report["seconds"]
    best = longer.trainer.early_stopping.best_monitored_update
    assert resumed["scores"]["best_update"] == resumed["scores"]["val"]["update"] == best
    run_here(tmp_path, "run_type=test", "checkpoint.resume=true")
    tested = json.loads((tmp_path / "run_report.json").read_text())
    assert tested["scores"].pop("test").keys() >= {"update", "test/tiny/accuracy"}
    assert tested == resumed


def test_an_interrupted_run_has_its_scores(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    opts = ("run_type=train", "training.max_updates=15", "training.logger_level=error")
    from tests.bridge.tiny_plugin.model import Tiny

    stock, calls = Tiny.forward, []

    def forward(self, sample_list):
        calls.append(self.training)
        if calls.count(True) == 13:
            stop()
        return stock(self, sample_list)

    Tiny.forward = forward
    try:
        with pytest.raises(KeyboardInterrupt):
            run_here(tmp_path, *opts)
    finally:
        Tiny.forward = stock
    report = json.loads((tmp_path / "run_report.json").read_text())
    assert report["scores"]["val"]["update"] == report["updates"] == 10


def test_a_run_has_one_folder_of_tensorboards(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    opts = ("training.tensorboard=true", "training.log_interval=1")
    run_here(tmp_path, "run_type=train", "training.max_updates=12", *opts)
    # As if it had been killed before it could save its last two updates.
    (tmp_path / "models" / "model_10.ckpt").replace(tmp_path / "current.ckpt")
    again = ("training.max_updates=15", "checkpoint.resume=true", *opts)
    run_here(tmp_path, "run_type=train", *again)
    run_here(tmp_path, "run_type=test", *again)
    run_here(tmp_path, *again, predict=True)
    (folder,) = (tmp_path / "logs").glob("tensorboard_*")
    assert len(list(folder.iterdir())) == 3  # nothing of the prediction
    events = EventAccumulator(str(folder))
    events.Reload()
    for name in ("train/total_loss", "train/lr"):
        assert [event.step for event in events.Scalars(name)] == list(range(1, 16))
    assert [event.step for event in events.Scalars("test/total_loss")] == [15]


def test_the_program_that_asks_by_log_lines_is_heard(capsys):
    """MMF main's mmf_interactive; the rest of what MMF says is for the log file."""
    handler = console.ConsoleHandler(["mmf_bridge"])
    for name in ("mmf_cli.interactive", "mmf_cli.run", "mmf.utils.inference"):
        handler.handle(logging.makeLogRecord({"name": name, "levelno": logging.INFO, "msg": name}))
    assert capsys.readouterr().out == "mmf_cli.interactive\n"
