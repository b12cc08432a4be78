"""Collecting scores and predictions over a split."""

import errno
import itertools
import json
import multiprocessing
import os
import re

import numpy as np
import pytest
import torch

from clipvil_mmf.data.batching import QuestionBatchSampler
from mmf_bridge.common import evaluation, prediction
from mmf_bridge.common.evaluation import FieldAccumulator, LossAverage, MetricMeans, fields_of
from mmf_bridge.common.loading import EpochBatches


def batches(sizes):
    start = 0
    for size in sizes:
        scores = torch.arange(start, start + size).float()[:, None].expand(-1, 3).contiguous()
        yield {"scores": scores, "ids": [f"q{i}" for i in range(start, start + size)], "x": 1}, size
        start += size


def test_fields_are_joined_in_order():
    fields = FieldAccumulator(["scores", "ids", "absent"])
    for report, size in batches([4, 4, 1]):
        fields.add(report, size)
    joined = fields.joined()
    assert joined["scores"][:, 0].tolist() == list(range(9))
    assert joined["ids"] == [f"q{i}" for i in range(9)]
    assert set(joined) == {"scores", "ids"}


def test_a_view_of_a_larger_tensor_does_not_keep_it():
    fields, logits = FieldAccumulator(["scores"]), torch.zeros(2, 50, 9)
    fields.add({"scores": logits[:, 0]}, 2)
    assert fields._tensors["scores"][0].untyped_storage().nbytes() == 2 * 9 * 4


def test_fields_that_are_no_column_of_the_batch_are_left_out():
    fields = FieldAccumulator(["images", "scalar"])
    fields.add({"images": torch.ones(5, 2), "scalar": torch.tensor(1.0)}, 3)
    assert fields.joined() == {}


def test_several_processes(monkeypatch):
    """Also where one of them has had nothing."""
    fields = FieldAccumulator(["scores", "ids"])
    for report, size in batches([2]):
        fields.add(report, size)
    other = {"scores": torch.full((1, 3), 9.0).numpy(), "ids": ["q9"]}
    monkeypatch.setattr(evaluation, "get_world_size", lambda: 3)
    monkeypatch.setattr(evaluation, "gather_objects", lambda mine: [mine, {}, other])
    joined = fields.joined()
    assert joined["scores"][:, 0].tolist() == [0, 1, 9]
    assert joined["ids"] == ["q0", "q1", "q9"]


def test_losses_are_weighted_by_samples():
    losses = LossAverage()
    losses.add({"a": torch.tensor(1.0), "b": torch.tensor([2.0, 4.0])}, 3)
    losses.add({"a": torch.tensor(5.0), "b": torch.tensor(3.0)}, 1)
    assert losses.mean() == ({"a": 2.0, "b": 3.0}, 4)


def test_rows_of_padded_batches_are_dropped_by_id_and_type(monkeypatch):
    shards = [
        [{"question_id": 1, "answer": "a"}, {"question_id": "1", "answer": "b"}],
        [{"question_id": 1, "answer": "a"}, {"questionId": "x"}, {"answer": "no id"}],
        [{"answer": "no id"}],
    ]
    monkeypatch.setattr(prediction, "gather_objects", lambda rows: shards)
    rows = prediction.gather_rows([])
    assert [prediction.row_id(row) for row in rows] == [1, "1", "x", None, None]


def test_a_prediction_file_appears_whole_or_not_at_all(tmp_path):
    file = tmp_path / "rows.json"
    prediction.write_rows([{"question_id": 10**12, "answer": "blüe"}], file)
    assert json.loads(file.read_text())[0]["question_id"] == 10**12
    with pytest.raises(TypeError):
        prediction.write_rows([{"question_id": torch.tensor(1)}], file)
    assert json.loads(file.read_text())[0]["answer"] == "blüe"
    with pytest.raises(OSError, match=r"Could not write the predictions .*rows.*report_dir"):
        prediction.write_rows([], file / "below" / "rows.json")
    assert list(tmp_path.iterdir()) == [file]


def layouts():
    """Ways to cut 23 questions on 7 images into batches: 96 of them."""
    random = np.random.default_rng(0)
    images = random.integers(0, 7, 23)
    for world, size, by_image, shapes in itertools.product(
        (1, 2, 3, 4), (4, 5, 8, 40), (True, False), (None, images % 2, (images == 0) * 1)
    ):
        yield images, dict(batch_size=size, group_by_image=by_image, groups=shapes), world


@pytest.mark.parametrize("key", ["question_id", "image"])  # an id, and none
def test_rows_stand_in_the_order_of_the_split_in_every_layout(monkeypatch, key):
    """Each once, however batches are cut, and on however many processes."""
    count, unsorted = 0, 0
    for images, options, world in layouts():
        orders = [
            EpochBatches(
                QuestionBatchSampler(images, shuffle=False, rank=rank, world_size=world, **options)
            )
            for rank in range(world)
        ]
        made = [[{key: 23 - i} for b in order for i in b] for order in orders]
        places = [prediction._positions(*pair) for pair in zip(orders, map(len, made), strict=True)]
        answers = iter([made, places])
        monkeypatch.setattr(prediction, "gather_objects", lambda _: next(answers))  # noqa: B023
        rows = prediction.gather_rows(made[0], orders[0])
        assert [row[key] for row in rows] == list(range(23, 0, -1))
        count += 1
        unsorted += [row for rank in made for row in rank] != rows
    assert count == 96 and unsorted > 20


def test_rows_that_are_no_row_a_sample_keep_the_order_of_the_processes():
    order = EpochBatches([[1, 0], [2]])
    rows = [{"question_id": key} for key in (5, 4)]
    assert prediction.gather_rows(rows, order) == rows
    assert prediction.gather_rows([*rows, {"question_id": 9}], order) == [
        {"question_id": key} for key in (4, 5, 9)
    ]
    assert prediction.gather_rows(rows, batches([1])) == rows  # somebody else's loader


@pytest.fixture
def frozen(monkeypatch):
    """All in one second."""
    monkeypatch.setattr(prediction.time, "strftime", lambda form: "2026-11-26T09-47-12")


def report(folder, answer, dataset="toy", experiment="run"):
    return prediction.write_report(
        [{"question_id": 1, "answer": answer}], folder, dataset, experiment, "test", "json"
    )


@pytest.mark.parametrize("linked", [True, False])
def test_predictions_of_one_second_do_not_replace_each_other(tmp_path, frozen, monkeypatch, linked):
    if not linked:  # as on a file system without hard links

        def refuse(*_, **__):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    files = [report(tmp_path, answer) for answer in "abc"]
    assert [file.name for file in files] == [
        "toy_run_test_2026-11-26T09-47-12.json",
        "toy_run_test_2026-11-26T09-47-12-2.json",
        "toy_run_test_2026-11-26T09-47-12-3.json",
    ]
    assert [json.loads(file.read_text())[0]["answer"] for file in files] == ["a", "b", "c"]
    assert {f.name for f in tmp_path.iterdir() if "lock" not in f.name} == {
        *(file.name for file in files),
        "latest.json",
    }


def _report_often(folder, answer, start):
    start.wait()
    for _ in range(5):
        report(folder, answer, dataset=answer)
        report(folder, answer)


def test_predictions_of_processes_that_write_at_once(tmp_path, frozen):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    processes = [
        context.Process(target=_report_often, args=(tmp_path, answer, start)) for answer in "abc"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    said = [json.loads(file.read_text())[0]["answer"] for file in tmp_path.glob("toy_*.json")]
    assert sorted(said) == list("aaaaabbbbbccccc")
    latest = json.loads((tmp_path / "latest.json").read_text())
    assert latest.keys() == {"a", "b", "c", "toy"}  # none undid the entry of another


def test_the_newest_predictions_are_named(tmp_path):
    (tmp_path / "latest.json").write_text("[")
    report(tmp_path, "x", dataset="other")
    first, second = report(tmp_path, "a"), report(tmp_path, "b")
    latest = json.loads((tmp_path / "latest.json").read_text())
    assert latest["toy"] == {"file": second.name, "split": "test", "rows": 1}
    assert latest.keys() == {"toy", "other"} and first != second


def test_names_of_prediction_files_are_portable(tmp_path):
    name = report(tmp_path, "a", experiment="lr: 1/2 «é»").name
    assert re.fullmatch(r"toy_lr--1-2--é-_test_[\dT-]+\.json", name)
    assert report(tmp_path, "a", experiment=None).name.startswith("toy_test_")


def test_rows_as_a_table(tmp_path):
    prediction.write_rows([{"question_id": 1, "answer": "a"}], tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().split() == ["question_id,answer", "1,a"]
    prediction.write_rows([{"id": "dev-1", "label": "True"}], tmp_path / "bare.csv", header=False)
    assert (tmp_path / "bare.csv").read_text().split() == ["dev-1,True"]


def test_an_object_of_rows_is_json_alone(tmp_path):
    prediction.write_rows({"a": {"answer": "b"}}, tmp_path / "rows.json")
    assert json.loads((tmp_path / "rows.json").read_text()) == {"a": {"answer": "b"}}
    with pytest.raises(ValueError, match=r"predict_file_format: csv, but .* set it to json"):
        prediction.write_rows({"a": {"answer": "b"}}, tmp_path / "rows.csv")


class Toy:
    """A metric: the mean of ``x``."""

    required_params = ("x",)

    def __init__(self, mean_of_samples):
        self.mean_of_samples = mean_of_samples


class ToyMetrics:
    """As MMF's ``Metrics``."""

    def __init__(self, **metrics):
        self.metrics = metrics
        self.required_params = {"dataset_name", "dataset_type", "x"}

    def __call__(self, report, output):
        return {f"val/toy/{name}": report["x"].mean().view(1) for name in self.metrics}


class ToyReport(dict):
    def __init__(self, x):
        super().__init__(x=x)
        self.batch_size = len(x)


def test_means_over_samples_are_summed_up_and_other_metrics_are_not():
    means = MetricMeans(ToyMetrics(streamed=Toy(True), whole=Toy(False)))
    for x in ([1.0, 2.0, 3.0], [10.0]):  # batches of unlike sizes: weighted by them
        means.add(ToyReport(torch.tensor(x)))
    values, missing = means.mean()
    assert values.keys() == {"val/toy/streamed"} and missing == set()
    assert values["val/toy/streamed"].tolist() == [4.0]
    assert means.others.metrics.keys() == {"whole"} and fields_of(means.others) == {"x"}


def test_means_over_samples_say_which_fields_lack():
    means = MetricMeans(ToyMetrics(streamed=Toy(True)))
    report = ToyReport(torch.ones(2))
    del report["x"]
    means.add(report)
    assert means.mean() == ({}, {"x"})
    assert fields_of(means.others) == set()


def test_means_over_samples_of_several_processes(monkeypatch):
    """Also where one of them has had nothing."""
    means = MetricMeans(ToyMetrics(streamed=Toy(True)))
    means.add(ToyReport(torch.tensor([1.0])))
    shards = [({"val/toy/streamed": (1.0, 1)}, 1), ({}, 0)]
    other = iter([[set(), set(), {"x"}], shards])
    monkeypatch.setattr(evaluation, "gather_objects", lambda value: next(other))
    values, missing = means.mean()
    assert values["val/toy/streamed"].tolist() == [1.0] and missing == {"x"}


def test_a_loss_of_some_batches_is_their_mean():
    losses = LossAverage()
    losses.add({"vqa": torch.tensor(1.0)}, 3)
    losses.add({"gqa": torch.tensor(5.0)}, 1)
    assert losses.mean() == ({"vqa": 1.0, "gqa": 5.0}, 4)
