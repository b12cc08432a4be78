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
