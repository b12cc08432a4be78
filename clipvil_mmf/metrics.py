"""MMF's metric ``vqa_score``: how VQA and GQA leaderboards score a prediction."""

from __future__ import annotations

from typing import Any

import torch
from mmf.common.registry import registry
from mmf.modules.metrics import BaseMetric


@registry.register_metric("vqa_score")
class VQAScore(BaseMetric):
    """Mean over the questions of the soft target of the best-scored answer.

    Unlike MMF's ``vqa_accuracy`` it does not mask answer 0, which here is an answer like any other.
    A question without an answer in the vocabulary has zero targets, and counts as wrong: for GQA
    this is the accuracy over all questions, not the published one over those with a known answer.
    """

    # Summed up batch by batch: neither scores nor targets of a split are held (mmf_bridge).
    mean_of_samples = True

    def __init__(self) -> None:
        super().__init__("vqa_score")
        self.required_params = ["scores", "targets"]

    def calculate(
        self, sample_list: Any, model_output: Any, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """() float32 of ``scores`` of any float dtype and soft ``targets``, both (B, labels)."""
        best = model_output["scores"].argmax(dim=1, keepdim=True)
        return sample_list["targets"].float().gather(1, best).mean()
