"""Several processes on CPUs."""

import json

import pytest
import torch

from tests.bridge import runs
from tests.bridge.both import watched
from tests.bridge.runs import Run, run_here, run_processes

SIZES = (1, 2, 3, 7, 203)
DETERMINISTIC = (
    *("run_type=train", "training.evaluation_interval=100", "optimizer.type=SGD"),
    *("model_config.tiny.dropout=0.0", "model_config.tiny.norm=false"),
)


@pytest.fixture
def run_watched(monkeypatch):
    """Runs two processes; returns the run and what each of them has seen."""
    monkeypatch.setattr(runs, "_work", watched.work)

    def start(folder, *opts, **kwargs):
        run = run_processes(folder, *opts, processes=2, **kwargs)
        assert run.exit_codes == [0, 0], run.output
        return run, [torch.load(run.folder / f"rank{rank}.pt") for rank in (0, 1)]

    return start


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(("leftover", "updates"), [("step", 8), ("carry", 6)])
def test_two_processes_train_one_model_as_one_process_does(
    tmp_path, run_watched, leftover, updates
):
    """52 samples in batches of 8 and one of 4; the gradients are reduced once an update."""
    opts = (*DETERMINISTIC, "training.max_epochs=2", "training.update_frequency=2")
    opts += (f"training.leftover_batches={leftover}",)
    run, (first, second) = run_watched(tmp_path / "two", *opts)
    assert "(gloo)" in run.output and "In the sequence `MMF_" not in run.output
    assert first["wrapper"] == second["wrapper"] == "DistributedDataParallel"
    assert same(first["weights"], second["weights"])
    assert first["num_updates"] == second["num_updates"] == updates
    assert (
        first["reductions"] == second["reductions"] == updates
    )  # no_sync before an update's last batch
    assert (first["local_rank"], second["local_rank"]) == (0, 1)
    # max_epochs is not shortened by the number of processes, nor are gradients summed.
    one = run_here(tmp_path / "one", *opts)
    assert one.trainer.num_updates == updates
    for name, weight in one.checkpoint()["model"].items():
        torch.testing.assert_close(first["weights"][name], weight)
    assert "module." not in "".join(run.checkpoint()["model"])


def test_early_stopping_stops_both_at_the_same_update(tmp_path, run_watched):
    run, (first, second) = run_watched(
        tmp_path,
        *("run_type=train", "training.max_updates=200", "training.evaluation_interval=2"),
        *("training.early_stop.enabled=true", "training.early_stop.patience=3"),
        *("optimizer.params.lr=0.0", "model_config.tiny.norm=false"),
    )
    assert "Early stopping activated" in run.output
    assert first["num_updates"] == second["num_updates"] == 6


def test_an_interrupted_run_of_two_processes_continues_bit_for_bit(tmp_path, run_watched):
    opts = ("run_type=train", "training.evaluation_interval=1000")  # dropout and normalisation on
    whole, (first, second) = run_watched(tmp_path / "whole", *opts, "training.max_updates=12")
    run_watched(tmp_path / "cut", *opts, "training.max_updates=9")
    again, _ = run_watched(
        tmp_path / "cut", *opts, "training.max_updates=12", "checkpoint.resume=true"
    )
    assert same(whole.checkpoint()["model"], again.checkpoint()["model"])
    assert len(whole.checkpoint()["rng_states"]) == 2
    parameters = [name for name in first["weights"] if "running" not in name]
    assert all(torch.equal(first["weights"][n], second["weights"][n]) for n in parameters)


@pytest.fixture
def run_each(monkeypatch):
    """Runs two processes that make one run after the other, each with its own options."""
    monkeypatch.setattr(runs, "_work", watched.work_through)

    def start(folder, each, *opts, **kwargs):
        folder.mkdir()
        (folder / "each").write_text("\n".join(each))
        run = run_processes(folder, *opts, processes=2, **kwargs)
        texts = "\n".join(file.read_text() for file in folder.glob("output-*"))
        assert run.exit_codes == [0, 0], texts
        return [folder / str(number) for number in range(len(each))]

    return start


@pytest.mark.parametrize("ids", ["int", "str", "long"])
def test_two_processes_predict_each_question_once(tmp_path, run_each, ids):
    each = [f"dataset_config.tiny.sizes.test={size}" for size in SIZES]
    opts = (f"dataset_config.tiny.ids={ids}",)
    folders = run_each(tmp_path / "two", each, *opts, predict=True)
    expected = {"int": int, "str": lambda i: f"q{i}", "long": lambda i: 10**11 + i}[ids]
    for size, folder in zip(SIZES, folders, strict=True):
        (file,) = folder.rglob("reports/*_*.json")
        rows = json.loads(file.read_text())
        assert [row["question_id"] for row in rows] == [expected(i) for i in range(size)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_processes_score_like_one(tmp_path, run_each, precision):
    """Also where one of them has nothing to score."""
    each = [f"dataset_config.tiny.sizes.val={size}" for size in SIZES]
    opts = ("run_type=val", "training.batch_size=4", f"training.precision={precision}")
    folders = run_each(tmp_path / "two", each, *opts)

    def score(folder):
        log = Run(folder).log()
        (line,) = [line for line in log.splitlines() if "val/total_loss" in line]
        return line.split("val/", 1)[1].split(", split")[0]

    for number, (change, folder) in enumerate(zip(each, folders, strict=True)):
        one = tmp_path / f"one{number}"
        run_here(one, *opts, change)
        assert score(folder) == score(one)


def test_a_nan_in_one_process_stops_all(tmp_path):
    opts = ("model_config.tiny.nan_at=3", "model_config.tiny.nan_rank=1")
    run = run_processes(tmp_path, *opts, processes=2)
    assert run.exit_codes == [1, 1], run.output
    assert run.output.count("ended by RuntimeError: The loss is NaN at update 3") == 2


def test_a_batch_size_that_cannot_be_shared_says_so(tmp_path):
    run = run_processes(tmp_path, "training.batch_size=7", processes=2)
    assert run.exit_codes != [0, 0]
    assert "must be divisible by" in run.output  # main says so itself


def test_processes_that_mmf_spawns(tmp_path):
    run = run_processes(tmp_path, "distributed.world_size=2", predict=True)
    assert run.exit_codes == [0], run.output
    (file,) = run.predictions()
    assert len(json.loads(file.read_text())) == 23
    assert "rank 1 of 2 (gloo)" in run.output
