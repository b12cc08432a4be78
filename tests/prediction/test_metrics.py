from __future__ import annotations

import pytest
import torch
from mmf.common.registry import registry
from mmf.common.sample import SampleList
from mmf.modules.metrics import Metrics

import clipvil_mmf.metrics  # noqa: F401  (registers the metric)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_vqa_score_is_the_mean_label_of_the_best_answer(dtype):
    batch = SampleList()
    batch.add_field("targets", torch.tensor([[0.3, 1.0], [0.6, 0.0], [0.0, 0.0], [1.0, 0.0]]))
    batch.add_field("dataset_name", "toy")
    batch.add_field("dataset_type", "val")
    # The best answer is 0 in three rows: it is not masked.
    scores = torch.tensor([[0.2, 0.1], [5, 1], [0, 1], [1, -1]], dtype=dtype)
    values = Metrics(["vqa_score"])(batch, {"scores": scores})
    assert values.keys() == {"val/toy/vqa_score"}
    torch.testing.assert_close(values["val/toy/vqa_score"], torch.tensor([(0.3 + 0.6 + 0 + 1) / 4]))


def test_metric_asks_for_what_it_needs():
    assert registry.get_metric_class("vqa_score")().required_params == ["scores", "targets"]


def test_a_question_outside_the_vocabulary_counts_as_wrong():
    """GQA: its targets are zero, and it stays in the denominator."""
    batch = SampleList()
    batch.add_field("targets", torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    batch.add_field("dataset_name", "gqa")
    batch.add_field("dataset_type", "val")
    values = Metrics(["vqa_score"])(batch, {"scores": torch.tensor([[1.0, 0.0], [1.0, 0.0]])})
    assert values["val/gqa/vqa_score"].item() == 0.5


def test_a_split_is_summed_up_batch_by_batch():
    assert registry.get_metric_class("vqa_score").mean_of_samples


def test_the_metrics_of_mmf_stay_its_own():
    """A bridge without this plugin's models gives the same figures."""
    assert registry.get_metric_class("accuracy").__module__ == "mmf.modules.metrics"


def test_a_sample_without_a_class_counts_as_wrong():
    batch = SampleList()
    batch.add_field("targets", torch.tensor([1, 0, -1, 1]))
    batch.add_field("dataset_name", "toy")
    batch.add_field("dataset_type", "val")
    values = Metrics(["accuracy"])(batch, {"scores": torch.tensor([[0.0, 1.0]]).repeat(4, 1)})
    assert values["val/toy/accuracy"].item() == 0.5
