"""Loss functions without MMF: in the published scale, and cross entropy of classes."""

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
    return mean * _factor(targets, loss_scale)


def scaled_mce(scores: Tensor, targets: Tensor, loss_scale: float) -> Tensor:
    """Mean cross entropy with each sample's best label, times the number of labels and a scale.

    Args:
        scores: (B, labels), before the softmax.
        targets: (B, labels), soft targets in [0, 1]; a sample without any adds nothing.
        loss_scale: the further factor; as published, 1 stands for the number of labels.

    Returns:
        () float32 or float64.
    """
    best, classes = targets.max(dim=1)
    loss = class_cross_entropy(scores, classes.masked_fill(best == 0, NO_CLASS))
    return loss * targets.shape[1] * _factor(targets, loss_scale)


def _factor(targets: Tensor, loss_scale: float) -> float:
    return targets.shape[1] if loss_scale == 1 else loss_scale


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
