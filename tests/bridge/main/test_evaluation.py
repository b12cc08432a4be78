"""Evaluation and prediction on MMF main: every sample once, whatever its id and the processes."""

import json

import pytest
import torch

from tests.bridge.runs import options, run_here, run_processes


def sizes(**splits):
    return {"dataset_config.tiny.sizes": {"train": 0, "val": 0, "test": 0, **splits}}


def rows_of(run):
    return json.loads(run.predictions()[-1].read_text())


@pytest.mark.parametrize(("ids", "first"), [("int", 0), ("str", "q0"), ("long", 100_000_000_000)])
def test_prediction_has_each_question_once_with_its_own_id(tmp_path, ids, first):
    run = run_here(tmp_path, f"dataset_config.tiny.ids={ids}", predict=True)
    rows = rows_of(run)
    assert rows[0]["question_id"] == first
    assert len(rows) == len({row["question_id"] for row in rows}) == 23


@pytest.mark.parametrize("test", [1, 23])
def test_two_processes_predict_each_question_once(tmp_path, test):
    run = run_processes(tmp_path, processes=2, predict=True, changes=sizes(test=test))
    assert run.exit_codes == [0, 0], run.output
    assert [row["question_id"] for row in rows_of(run)] == list(range(test))


@pytest.mark.parametrize(("test", "precision"), [(1, "fp32"), (23, "fp32"), (23, "bf16")])
def test_two_processes_score_like_one(tmp_path, test, precision):
    opts = ("run_type=test", f"training.precision={precision}")
    changes = sizes(test=test)
    one = run_processes(tmp_path / "one", *opts, changes=changes)
    two = run_processes(tmp_path / "two", *opts, processes=2, changes=changes)
    assert two.exit_codes == [0, 0], two.output

    def scores(run):
        (line,) = [line for line in run.output.splitlines() if "test/total_loss" in line]
        return line.split("test/", 1)[1]

    assert scores(one) == scores(two)


def test_predict_as_a_function(tmp_path):
    from mmf_cli.predict import predict

    opts = options(tmp_path, ())
    predict(opts)
    (file,) = tmp_path.rglob("reports/*_*.json")
    assert ":" not in file.name
    latest = json.loads((file.parent / "latest.json").read_text())
    assert latest == {"tiny": {"file": file.name, "split": "test", "rows": 23}}
    assert opts == options(tmp_path, ())  # stock MMF adds to the caller's list


def test_prediction_as_csv(tmp_path):
    run = run_here(tmp_path, "evaluation.predict_file_format=csv", predict=True)
    (file,) = run.folder.rglob("reports/*.csv")
    assert len(file.read_text().split()) == 1 + 23


@pytest.mark.parametrize("run_type", ["train_inference", "test"])
def test_an_unlabelled_test_split_ends_a_run_well(tmp_path, run_type, caplog):
    run_here(
        tmp_path,
        f"run_type={run_type}",
        "training.max_updates=2",
        "dataset_config.tiny.labelled_test=false",
    )
    log = (tmp_path / "train.log").read_text()
    assert "Nothing to score: the test split of tiny has no answers" in log


def test_a_dataset_that_does_not_say_it_is_unlabelled(tmp_path, monkeypatch):
    from tests.bridge.tiny_plugin import dataset

    stock = dataset.TinyDataset.__init__

    def init(self, *args):
        stock(self, *args)
        del self.is_labelled

    monkeypatch.setattr(dataset.TinyDataset, "__init__", init)
    run_here(
        tmp_path,
        "training.max_updates=2",
        "dataset_config.tiny.labelled_test=false",
    )
    log = (tmp_path / "train.log").read_text()
    assert "Nothing to score: the test split of tiny has no targets" in log


def test_an_unlabelled_split_can_be_predicted(tmp_path):
    run = run_here(tmp_path, "dataset_config.tiny.labelled_test=false", predict=True)
    assert len(rows_of(run)) == 23


def test_evaluation_copies_nothing_twice(tmp_path, monkeypatch):
    """Stock MMF joins all it has so far with each batch."""
    from mmf.common.report import Report

    calls = []
    monkeypatch.setattr(
        Report, "accumulate_tensor_fields_and_loss", lambda *args: calls.append(args)
    )
    run_here(tmp_path, "training.batch_size=2", "run_type=test")
    assert not calls


def test_metrics_see_every_sample_and_losses_are_means_over_samples(tmp_path):
    run = run_here(tmp_path, "run_type=val", "training.batch_size=4")
    report, meter = run.trainer.evaluation_loop("val")
    assert report.scores.shape == (23, 3)
    loss = torch.nn.functional.cross_entropy(report.scores, report.targets)
    assert meter.meters["val/total_loss"].global_avg == pytest.approx(float(loss))
    accuracy = (report.scores.argmax(1) == report.targets).float().mean()
    assert float(meter.meters["val/tiny/accuracy"].global_avg) == pytest.approx(float(accuracy))


def test_evaluation_can_collect_on_the_cpu(tmp_path):
    run = run_here(tmp_path, "run_type=val", "evaluation.use_cpu=true")
    report, _ = run.trainer.evaluation_loop("val")
    assert report.scores.device.type == "cpu"


def test_loaders_of_evaluation_are_kept(tmp_path):
    run = run_here(tmp_path, "run_type=val")
    datamodule = run.trainer.dataset_loader.datamodules["tiny"]
    assert datamodule.val_dataloader() is datamodule.val_dataloader()
    assert datamodule.train_dataloader() is not datamodule.train_dataloader()


def test_a_mean_over_samples_needs_no_fields(tmp_path, monkeypatch):
    from mmf.modules.metrics import Accuracy

    run = run_here(tmp_path, "run_type=val", "training.batch_size=4")
    whole, expected = run.trainer.evaluation_loop("val")
    monkeypatch.setattr(Accuracy, "mean_of_samples", True, raising=False)
    report, meter = run.trainer.evaluation_loop("val")
    assert {"scores", "targets"} <= set(whole) and not {"scores", "targets"} & set(report)
    values = [m.meters["val/tiny/accuracy"].global_avg.item() for m in (meter, expected)]
    assert float(values[0]) == pytest.approx(float(values[1]))
    assert report.metrics.keys() == whole.metrics.keys() == {"val/tiny/accuracy"}
