"""What a run says of itself at its end."""

import json
import subprocess
import sys

import torch

from mmf_bridge.common.resident import peak_resident
from mmf_bridge.common.run_report import RunReport, peak_memory
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import run_here

CPU = torch.device("cpu")


def test_figures(monkeypatch, tmp_path):
    clock = iter([0.0, 2.0, 3.0, 4.0, 104.0, 105.0, 110.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    model = torch.nn.Linear(3, 4)
    model.bias.requires_grad_(False)
    report = RunReport(model, CPU)
    for _ in range(5):
        report.update_ended()
    line = report.write(str(tmp_path))
    found = json.loads((tmp_path / "run_report.json").read_text())
    assert (found["trainable"], found["total"], found["trainable_percent"]) == (12, 16, 75)
    # The hundred seconds of an evaluation are the run's, and not an update's.
    assert (found["updates"], found["seconds"], found["seconds_per_update"]) == (5, 110, 1)
    assert "trained 12 of 16 parameters (75.00 %): 5 updates in 110.0 s (1 s an update)" in line
    assert [file.name for file in tmp_path.iterdir()] == ["run_report.json"]


def test_time_that_is_waited_for_data(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 10.0, 10.5, 20.0, 20.25, 30.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    report = RunReport(torch.nn.Linear(3, 4), CPU)
    assert list(report.timed("ab")) == ["a", "b"]
    assert report.figures()["seconds_waiting_for_data"] == 2 + 0.5 + 0.25


class Counting(torch.nn.Linear):
    """A model that says what it computes."""

    def __init__(self):
        super().__init__(3, 1)
        self.seen, self.modes, self.counted_in = [], [], []

    def multiply_adds(self, batch):
        self.seen.append(batch)
        self.counted_in.append(torch.is_autocast_enabled("cpu"))
        return 3_000_000_000

    def __call__(self, batch):
        raise AssertionError("it was called, by which MMF's models compute their loss")

    def forward(self, batch):
        self.modes.append(self.training)
        return super().forward(batch.rows)


class Rows:
    def __init__(self, rows):
        self.rows = rows

    def get_batch_size(self):
        return len(self.rows)


def test_work_and_predictions(monkeypatch, tmp_path):
    model = Counting()
    report = RunReport(model, CPU)
    first, last = Rows(torch.ones(5, 3)), Rows(torch.ones(4, 3))
    report.batch_begins(first)
    report.batch_begins(last)
    report.update_ended()
    # A first prediction of 100 s, which does not count; then 8, 8 and 20 s for the four rows.
    clock = iter([50.0, 0.0, 100.0, 100.0, 108.0, 108.0, 116.0, 116.0, 136.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    line = report.write(str(tmp_path))
    found = json.loads((tmp_path / "run_report.json").read_text())
    assert (found["multiply_adds"], found["seconds_per_prediction"]) == (3_000_000_000, 2)
    assert "a prediction takes 3 GMACs, 2 s" in line
    assert model.seen == [first]
    assert model.modes == [False] * 4
    assert model.training


def test_work_is_counted_in_the_precision_of_the_run():
    model = Counting()
    report = RunReport(model, CPU, lambda: torch.autocast("cpu", torch.bfloat16))
    report.batch_begins(Rows(torch.ones(5, 3)))
    assert model.counted_in == [True]


def test_one_update_has_no_pace(tmp_path):
    report = RunReport(torch.nn.Linear(1, 1), CPU)
    report.update_ended()
    assert report.figures()["seconds_per_update"] is None
    assert "an update" not in report.write(str(tmp_path))


def test_peak_memory_is_in_bytes():
    before = peak_memory(CPU)
    assert before > 50 * 2**20
    block = torch.ones(before // 4)  # as many bytes as the peak
    assert peak_memory(CPU) > 1.2 * before
    del block


class Changing(torch.nn.Linear):
    """A model that keeps in its batch what it computes, as MMF's Pythia does."""

    def __init__(self):
        super().__init__(3, 1)

    def multiply_adds(self, batch):
        self(batch)
        raise RuntimeError("The stateless API can't be used with Jitted modules\nmore of it")

    def forward(self, batch):
        batch["text"] = super().forward(batch["text"])
        batch.pop("image")
        batch["nested"]["names"].clear()
        return batch["text"]


class Fields(dict):
    def copy(self):
        return Fields(self)

    def get_batch_size(self):
        return len(self["text"])


def test_a_model_may_change_its_batch(tmp_path):
    model = Changing()
    batch = Fields(text=torch.ones(4, 3), image=torch.ones(4, 2), nested={"names": ["a"]})
    report = RunReport(model, CPU)
    report.batch_begins(batch)
    assert batch["text"].shape == (4, 3) and batch["nested"] == {"names": ["a"]}
    model(batch)
    found = report.figures()
    assert found["seconds_per_prediction"] > 0
    assert model.training
    # What was not found out is said, and ends no run.
    assert found["multiply_adds"] is None
    (failure,) = found["failures"]
    assert failure == (
        "multiply-adds: RuntimeError: The stateless API can't be used with Jitted modules"
    )
    assert failure in report.write(str(tmp_path))


def test_a_report_that_cannot_be_written_ends_no_run(tmp_path):
    report = RunReport(torch.nn.Linear(1, 1), CPU)
    (tmp_path / "file").touch()
    assert "could not be written: " in report.write(str(tmp_path / "file"))


def test_the_peak_of_memory_is_that_of_the_runs_end(monkeypatch, tmp_path):
    peaks = iter([5, 7])
    monkeypatch.setattr("mmf_bridge.common.run_report.peak_memory", lambda device: next(peaks))
    report = RunReport(torch.nn.Linear(1, 1), CPU)
    report.ended(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    report.write(str(tmp_path))
    before = json.loads((tmp_path / "run_report.json").read_text())
    report.ended(str(tmp_path))
    after = json.loads((tmp_path / "run_report.json").read_text())
    assert before["peak_memory_bytes"] == 5 and after == {**before, "peak_memory_bytes": 7}


def test_a_run_that_ends_takes_the_peak_of_memory_again(monkeypatch, tmp_path):
    ended = []
    monkeypatch.setattr(RunReport, "ended", lambda report, folder: ended.append(report.written))
    run_here(tmp_path, "run_type=train", "training.max_updates=3")
    assert [report["updates"] for report in ended] == [3]


def test_a_run_of_a_model_that_changes_its_batch_ends_well(tmp_path):
    changes = {"model_config.tiny.changes_batch": True}
    run_here(tmp_path, "run_type=train", "training.max_updates=3", changes=changes)
    found = json.loads((tmp_path / "run_report.json").read_text())
    assert found["seconds_per_prediction"] > 0 and found["failures"] == []


def test_the_peak_is_not_that_of_who_started_the_process():
    code = "from mmf_bridge.common.resident import peak_resident as peak; print(peak())"
    size = 200 * 2**20
    held = bytearray(size)
    held[::4096] = b"1" * len(held[::4096])
    found = int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    )
    assert peak_resident() > size > found > 2**20
