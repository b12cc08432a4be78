"""Loss functions without MMF: binary cross entropy in the published scale, and cross entropy."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from clipvil_mmf.layers.dtypes import at_least_float32

# The class of a sample that has none: it adds nothing to the loss.
NO_CLASS = -1


def scaled_bce(scores: Tensor, targets: Tensor, loss_scale: float) -> Tensor:
    """Mean binary cross entropy over all labels of all samples, times a scale.

    Args:
        scores: (B, labels), before the sigmoid.
        targets: (B, labels), soft targets in [0, 1].
        loss_scale: the factor; as published, 1 stands for the number of labels.

    Returns:
        () float32.
    """
    scores, targets = scores.float(), targets.float()
    mean = F.binary_cross_entropy_with_logits(scores, targets)
    return mean * (targets.shape[1] if loss_scale == 1 else loss_scale)


def class_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy over the samples that have a class; 0 where none has.

    Args:
        scores: (B, classes), before the softmax.
        targets: (B,) int64, ``NO_CLASS`` where there is none.

    Returns:
        () float32 or float64.
    """
    total = F.cross_entropy(
        at_least_float32(scores), targets, ignore_index=NO_CLASS, reduction="sum"
    )
    return total / (targets != NO_CLASS).sum().clamp(min=1)
