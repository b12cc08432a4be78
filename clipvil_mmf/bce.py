"""Binary cross entropy in the published scale, without MMF."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def scaled_bce(scores: Tensor, targets: Tensor, loss_scale: float) -> Tensor:
    """Mean binary cross entropy over all answers of all questions, times a scale.

    Args:
        scores: (B, answers), before the sigmoid.
        targets: (B, answers), soft targets in [0, 1].
        loss_scale: the factor; as published, 1 stands for the number of answers.

    Returns:
        () float32.
    """
    scores, targets = scores.float(), targets.float()
    mean = F.binary_cross_entropy_with_logits(scores, targets)
    return mean * (targets.shape[1] if loss_scale == 1 else loss_scale)
