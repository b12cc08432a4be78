"""Trackers of runs, by one that keeps what it is told; the others, see ../test_trackers.py."""

import csv
import json
import random
import re

import numpy as np
import pytest
import torch
from PIL import Image

from mmf_bridge.common import evaluator
from mmf_bridge.tracking import TRACKERS, trackers
from tests.bridge import recorder
from tests.bridge.runs import ROOT, Run, assert_same_end, run_here

USE = "training.trackers.use=recorder"
SHORT = ("run_type=train_inference", "training.max_updates=20", "training.log_interval=5")
UNIQUE = {"dataset_config.tiny.unique_images": True}  # which has `collate`


@pytest.fixture
def made(monkeypatch):
    """The recorders that runs of this test have begun."""
    monkeypatch.setitem(TRACKERS, "recorder", recorder.NAME)
    monkeypatch.setattr(recorder.Recorder, "made", [])
    monkeypatch.setattr(recorder.Recorder, "fails", ())
    return recorder.Recorder.made


@pytest.fixture
def drawn(monkeypatch):
    """The questions that the tiny model is asked to draw, and lots that it draws meanwhile."""
    from tests.bridge.tiny_plugin.model import Tiny

    asked = []

    def draw_predictions(self, dataset, indices, report):
        asked.append((self.training, list(report.question_id), report.scores.requires_grad))
        torch.rand(3), np.random.rand(3), random.random()
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(Tiny, "draw_predictions", draw_predictions, raising=False)
    return asked


def test_a_tracker_is_told_of_a_whole_run(tmp_path, capfd, made, drawn):
    run_here(tmp_path / "first", *SHORT, USE, "training.trackers.images=3", changes=UNIQUE)
    (tracker,) = made
    run = tracker.run
    assert (run.project, run.name, run.id) == ("tiny", "first", None)
    assert run.config["optimizer"]["params"]["lr"] == 0.01
    for name in ("train/lr", "train/ups", "train/total_loss"):
        assert tracker.steps_of(name) == [5, 10, 15, 20]
    assert tracker.steps_of("val/tiny/accuracy") == tracker.steps_of("val/total_loss") == [10, 20]
    assert len(tracker.steps_of("test/tiny/accuracy")) == 1
    assert all(type(figure) is float for _, _, figure in tracker.figures)
    assert [(step, name) for step, name, _ in tracker.pictures] == [
        (10, "val/tiny/predictions"),
        (20, "val/tiny/predictions"),
    ]
    assert drawn[0] == drawn[1] and len(drawn[0][1]) == 3 and drawn[0][0] is drawn[0][2] is False
    report = json.loads((tmp_path / "first" / "run_report.json").read_text())
    assert tracker.found["best"] == report["scores"]["best"]
    assert tracker.found["test/tiny/accuracy"] == report["scores"]["test"]["test/tiny/accuracy"]
    assert tracker.found["trainable"] == 43 and tracker.found["updates"] == 20
    assert tracker.is_complete is True
    assert "tracker  recorder: where id0 is" in capfd.readouterr().out


def test_a_run_is_the_same_with_trackers(tmp_path, made, drawn):
    changes = UNIQUE | {"model_config.tiny.dropout": 0.5}
    plain = run_here(tmp_path / "plain", *SHORT, changes=changes)
    tracked = run_here(tmp_path / "tracked", *SHORT, USE, changes=changes)
    assert made[0].pictures and not (tmp_path / "plain" / "trackers.json").exists()
    for name in ("current.ckpt", "best.ckpt"):  # whose configurations differ
        for run in (plain, tracked):
            assert run.checkpoint(name)["config"]
    assert_same_end(plain, tracked)


def test_a_resumed_run_goes_on_where_it_was_tracked(tmp_path, made):
    run_here(tmp_path, *SHORT, USE, "training.max_updates=10")
    run_here(tmp_path, *SHORT, USE, "checkpoint.resume=true")
    run_here(tmp_path, "run_type=val", USE, "checkpoint.resume=true")
    assert [tracker.run.id for tracker in made] == [None, "id0", "id0"]
    assert made[1].steps_of("train/lr") == [15, 20]
    assert made[2].steps_of("val/tiny/accuracy") == [20] and not made[2].steps_of("train/lr")
    run_here(tmp_path, *SHORT, USE, "env.overwrite=true")
    assert made[3].run.id is None
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"recorder": "id3"}


def test_a_prediction_is_not_tracked(tmp_path, made):
    run_here(tmp_path, *SHORT, USE)
    run_here(tmp_path, "run_type=test", USE, "checkpoint.resume=true", predict=True)
    assert len(made) == 1


def test_an_interrupted_run_is_not_complete(tmp_path, made, at_pass):
    def fail():
        raise ZeroDivisionError

    at_pass(8, fail)
    with pytest.raises(ZeroDivisionError):
        run_here(tmp_path, *SHORT, USE)
    assert made[0].is_complete is False and made[0].found == {}


@pytest.mark.parametrize("fails", ["begin", "scalars", "picture", "summary", "close"])
def test_the_errors_of_a_tracker_are_lines(tmp_path, capfd, made, drawn, monkeypatch, fails):
    monkeypatch.setattr(recorder.Recorder, "fails", (fails,))
    run_here(tmp_path, *SHORT, USE, changes=UNIQUE)
    said = capfd.readouterr().out
    assert f"ConnectionError: no way to {fails}" in said and "and more" not in said
    assert said.count("warning: recorder") <= 3
    assert ("left out" in said) == (fails in ("begin", "scalars"))
    assert "done     20 updates" in said and "no way" in Run(tmp_path).log()


def test_what_cannot_be_drawn_is_a_line(tmp_path, capfd, made, monkeypatch):
    from tests.bridge.tiny_plugin.model import Tiny

    def draw_predictions(self, dataset, indices, report):
        raise FileNotFoundError("a.png")

    monkeypatch.setattr(Tiny, "draw_predictions", draw_predictions, raising=False)
    run_here(tmp_path, *SHORT, USE, changes=UNIQUE)
    assert "tiny: no picture for trackers: FileNotFoundError: a.png" in capfd.readouterr().out
    assert made[0].pictures == [] and made[0].is_complete


def test_no_pictures_are_drawn_where_none_are_asked_for(tmp_path, made, drawn):
    run_here(tmp_path, *SHORT, USE, "training.trackers.images=0", changes=UNIQUE)
    assert drawn == [] and made[0].figures


def test_names_and_params_of_a_tracker(tmp_path, made):
    options = ("training.trackers.project=p", "training.trackers.name=n")
    colour = "training.trackers.params.recorder.colour=red"
    run_here(tmp_path, "run_type=val", USE, *options, colour)
    run = made[0].run
    assert (run.project, run.name, run.params) == ("p", "n", {"colour": "red"})
    with pytest.raises(ValueError, match=r"params\.recorder\.color: unknown.* mean colour\?"):
        run_here(tmp_path / "b", "run_type=val", USE, colour.replace("colour", "color"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["training.trackers.use=recordr"], r"use: unknown tracker 'recordr'. Did you mean rec"),
        (["training.trackers.use=recorder,recorder"], "expected each of them once"),
        (["training.trackers.params.wandbb.mode=x"], "params.wandbb: unknown tracker. Did you me"),
        (["training.trackers.params.wandb=x"], "params.wandb: got 'x', expected a section"),
        (["training.trackers.images=-1"], "images: got -1, expected a number of at least 0"),
        (["training.trackers.name=1", "training.tracker.name=1"], "Unknown option training.track"),
    ],
)
def test_wrong_options_end_the_run_before_it(tmp_path, made, options, message):
    with pytest.raises(ValueError, match=message):
        run_here(tmp_path, *options)
    assert made == []


def test_a_missing_package_is_an_error_with_the_command(tmp_path, made, monkeypatch):
    monkeypatch.setattr(recorder.Recorder, "package", "no_such_package")
    monkeypatch.setattr(recorder.Recorder, "install", "no-such-package")
    with pytest.raises(ValueError, match=r"recorder needs .*: pip install no-such-package$"):
        run_here(tmp_path, USE)
    run_here(tmp_path, USE, "run_type=test", predict=True)  # where it is not needed


def test_tensorboard_gets_pictures_and_the_configuration_too(tmp_path, drawn):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = (*SHORT, "training.trackers.use=tensorboard", "training.max_updates=10")
    run_here(tmp_path, *options, changes=UNIQUE)
    run_here(tmp_path, *options, "training.max_updates=20", "checkpoint.resume=true")
    (folder,) = (tmp_path / "logs").glob("tensorboard_*")
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()
    assert "train/total_loss" in tags["scalars"] and "grad_norm" not in tags["images"]
    assert [event.step for event in events.Scalars("train/lr")] == [5, 10, 15, 20]
    assert [event.step for event in events.Images("val/tiny/predictions")] == [10]
    assert {"config/text_summary", "summary/text_summary"} <= set(tags["tensors"])
    assert "AdamW" in str(events.Tensors("config/text_summary")[0])


def test_a_disk_without_room_for_figures_ends_no_run(tmp_path, capfd, made, monkeypatch):
    """TensorBoard's files, the trackers' ids and the scores of a report."""
    from tensorboard.compat.tensorflow_stub.io import gfile

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gfile.LocalFileSystem, "append", full)
    monkeypatch.setattr(trackers, "whole_file", full)
    monkeypatch.setattr(evaluator, "note_scores", full)
    run_here(tmp_path, *SHORT, USE, "training.tensorboard=true")
    said = capfd.readouterr()
    full = "[Errno 28] No space left on device"
    assert re.search(rf"TensorBoard is left out from here on: .*: {re.escape(full)}", said.out)
    assert f"trackers.json could not be written: {full}. A resumed run will be" in said.out
    assert f"The scores of test are not in the report: {full}" in said.out
    assert said.out.count("warning: ") == 3 and "Traceback" not in said.out + said.err
    assert "done     20 updates" in said.out and made[0].is_complete


def test_a_tracker_of_a_plugin(tmp_path, monkeypatch):
    """That of docs/tracking.md."""
    monkeypatch.setitem(TRACKERS, "csv", None)  # put back afterwards
    del TRACKERS["csv"]
    monkeypatch.syspath_prepend(tmp_path)
    page = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "tracked_plugin").mkdir()
    file = tmp_path / "tracked_plugin" / "__init__.py"
    file.write_text(f"import tests.bridge.tiny_plugin\n{text}")
    folder = tmp_path / "save"
    run_here(
        *(folder, *SHORT, "training.trackers.use=csv"),
        changes={"env.user_dir": str(file.parent)},
    )
    rows = list(csv.reader((folder / "figures.csv").open()))
    assert [step for step, name, _ in rows if name == "train/lr"] == ["5", "10", "15", "20"]
    assert [name for step, name, _ in rows if step == "end"].count("best") == 1
