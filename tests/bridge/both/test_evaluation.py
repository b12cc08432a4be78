"""Evaluation and prediction: every sample once, whatever its id and the processes."""

import json
from types import SimpleNamespace

import pytest
import torch

from tests.bridge.runs import Run, run_here, sizes


def rows_of(run):
    return json.loads(run.predictions()[-1].read_text())


@pytest.mark.parametrize("test", [1, 2, 3, 7, 203])
def test_each_question_is_predicted_once(tmp_path, test):
    run = run_here(tmp_path, predict=True, changes=sizes(test=test))
    assert [row["question_id"] for row in rows_of(run)] == list(range(test))


@pytest.mark.parametrize(("ids", "first"), [("int", 0), ("str", "q0"), ("long", 100_000_000_000)])
def test_a_question_keeps_its_own_id(tmp_path, ids, first):
    run = run_here(tmp_path, f"dataset_config.tiny.ids={ids}", predict=True)
    rows = rows_of(run)
    assert rows[0]["question_id"] == first
    assert len(rows) == len({row["question_id"] for row in rows}) == 23


def test_prediction_as_csv(tmp_path):
    run_here(tmp_path, "evaluation.predict_file_format=csv", predict=True)
    (file,) = tmp_path.rglob("reports/*.csv")
    assert file.read_text().split()[0] == "question_id,answer"
    assert len(file.read_text().split()) == 1 + 23


def test_several_datasets_get_a_file_each(tmp_path):
    run = run_here(tmp_path, "dataset=tiny,tiny_two", predict=True)
    rows = {f.name.split("_run_")[0]: json.loads(f.read_text()) for f in run.predictions()}
    assert {name: len(rows[name]) for name in rows} == {"tiny": 23, "tiny_two": 8}
    latest = json.loads((run.predictions()[0].parent / "latest.json").read_text())
    assert {entry["file"] for entry in latest.values()} == {f.name for f in run.predictions()}
    assert not any(":" in file.name for file in run.predictions())


@pytest.mark.parametrize("run_type", ["train_inference", "test"])
def test_an_unlabelled_test_split_ends_a_run_well(tmp_path, run_type):
    run_here(
        tmp_path,
        f"run_type={run_type}",
        "training.max_updates=2",
        "dataset_config.tiny.labelled_test=false",
    )
    log = Run(tmp_path).log()
    assert "Nothing to score: the test split of tiny has no answers" in log


def test_a_dataset_that_does_not_say_it_is_unlabelled(tmp_path, monkeypatch):
    from tests.bridge.tiny_plugin import dataset

    stock = dataset.TinyDataset.__init__

    def init(self, *args):
        stock(self, *args)
        del self.is_labelled

    monkeypatch.setattr(dataset.TinyDataset, "__init__", init)
    opts = ("training.max_updates=2", "dataset_config.tiny.labelled_test=false")
    run_here(tmp_path, *opts)
    log = Run(tmp_path).log()
    assert "Nothing to score: the test split of tiny has no targets" in log


def test_an_unlabelled_split_can_be_predicted(tmp_path):
    run = run_here(tmp_path, "dataset_config.tiny.labelled_test=false", predict=True)
    assert len(rows_of(run)) == 23


def test_metrics_see_every_sample_and_losses_are_means_over_samples(tmp_path):
    run = run_here(tmp_path, "run_type=val", "training.batch_size=4")
    report, meter = run.trainer.evaluation_loop("val")
    assert report.scores.shape == (23, 3)
    loss = torch.nn.functional.cross_entropy(report.scores, report.targets)
    assert meter.meters["val/total_loss"].global_avg == pytest.approx(float(loss))
    accuracy = (report.scores.argmax(1) == report.targets).float().mean()
    assert float(meter.meters["val/tiny/accuracy"].global_avg) == pytest.approx(float(accuracy))


def test_evaluation_copies_each_score_once(tmp_path, monkeypatch):
    """Stock MMF joins all it has so far with each batch: O(N^2) bytes."""
    run = run_here(tmp_path, "run_type=val", changes=sizes(val=200))
    copied, stock = [], torch.cat

    def cat(tensors, *args, **kwargs):
        copied.append(sum(len(tensor) for tensor in tensors))
        return stock(tensors, *args, **kwargs)

    monkeypatch.setattr(torch, "cat", cat)
    run.trainer.evaluation_loop("val")
    assert set(copied) == {200}  # each field is joined once


def test_evaluation_leaves_random_numbers_alone(tmp_path):
    from mmf_bridge.common.checkpoint_files import rng_state

    run = run_here(tmp_path, "run_type=val", "dataset=tiny,tiny_two")
    before = rng_state()
    run.trainer.evaluation_loop("val")
    after = rng_state()
    assert torch.equal(before["torch"], after["torch"])
    assert torch.equal(before["numpy"][1], after["numpy"][1])
    assert before["numpy"][2] == after["numpy"][2]


def test_evaluation_can_collect_on_the_cpu(tmp_path):
    run = run_here(tmp_path, "run_type=val", "evaluation.use_cpu=true")
    report, _ = run.trainer.evaluation_loop("val")
    assert report.scores.device.type == "cpu"


def test_the_model_trains_on_after_an_evaluation(tmp_path):
    run = run_here(tmp_path, "run_type=val")
    run.trainer.evaluation_loop("val")
    assert run.trainer.model.training


@pytest.mark.parametrize("question_id", [458752000, 10**11 + 7, "0123", "q7"])
def test_mmfs_own_vqa_dataset_keeps_any_question_id(question_id):
    from mmf.common.report import Report
    from mmf.common.sample import SampleList
    from mmf.datasets.builders.vqa2.dataset import VQA2Dataset

    dataset = VQA2Dataset.__new__(VQA2Dataset)
    words = ["<unk>", "yes"]
    dataset.annotation_db = [
        {
            "question_id": question_id,
            "image_id": 10**12,
            "question_tokens": ["is"],
            "question_str": "",
        }
    ]
    dataset.text_processor = lambda item: {"text": torch.tensor([1])}
    dataset._use_features, dataset.features_db = True, [{}]
    dataset.use_ocr = dataset.use_ocr_info = False
    dataset.answer_processor = SimpleNamespace(
        get_true_vocab_size=lambda: 2, idx2word=words.__getitem__
    )
    batch = SampleList([dataset.load_item(0)])
    report = Report(batch, {"scores": torch.tensor([[0.0, 1.0]])})
    (row,) = dataset.format_for_prediction(report)
    assert (row["question_id"], row["answer"]) == (question_id, "yes")
    assert batch.image_id.tolist() == [10**12]
    assert json.dumps(row)


def test_a_mean_over_samples_of_an_unlabelled_split(tmp_path, monkeypatch):
    from mmf.modules.metrics import Accuracy

    from mmf_bridge.common.evaluation import NoTargetsError
    from tests.bridge.tiny_plugin import dataset

    stock = dataset.TinyDataset.__init__

    def init(self, *args):
        stock(self, *args)
        del self.is_labelled

    monkeypatch.setattr(dataset.TinyDataset, "__init__", init)
    monkeypatch.setattr(Accuracy, "mean_of_samples", True, raising=False)
    run = run_here(tmp_path, "run_type=val", "dataset_config.tiny.labelled_test=false")
    with pytest.raises(NoTargetsError, match="test split of tiny has no targets"):
        run.trainer.evaluation_loop("test")


def test_a_report_and_a_meter_mean_what_they_do_in_stock_mmf(tmp_path, monkeypatch):
    opts = ("run_type=val", "training.batch_size=1")
    trainer = run_here(tmp_path, *opts, changes=sizes(val=24)).trainer
    reports, forward = [], trainer.forward_pass

    def remembered(*args):
        reports.append(forward(*args))
        return reports[-1]

    monkeypatch.setattr(trainer, "forward_pass", remembered)
    report, meter = trainer.evaluation_loop("val")
    (name,) = report.losses
    losses = torch.stack([batch.losses[name].mean() for batch in reports])
    assert report.losses[name].item() == pytest.approx(losses.sum().item())
    assert torch.equal(report.x, reports[0].x)
    found = meter.meters[name]
    assert found.global_avg == pytest.approx(losses.mean().item())
    assert found.avg == pytest.approx(losses[-found.window_size :].mean().item())
    assert meter.get_scalar_dict()[name] == found.global_avg
