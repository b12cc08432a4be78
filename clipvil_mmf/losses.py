"""MMF's losses: `clipvil_bce` and `clipvil_mce`, in the published scale, and those of tasks."""

from __future__ import annotations

from typing import Any

from mmf.common.registry import registry
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.loss_functions import class_cross_entropy, scaled_bce, scaled_mce


def _checked_scale(loss: str, scale: float) -> float:
    if not scale > 0:
        raise ConfigError(f"losses: {loss}'s params.loss_scale: got {scale}, expected above 0.")
    return scale


@registry.register_loss("clipvil_bce")
class ScaledBCE(nn.Module):
    """Mean binary cross entropy over all labels of all samples, times a scale.

    As published, `loss_scale: 1` stands for LXMERT's scale, the number of labels (then this is
    MMF's `logit_bce`); any other value is the factor itself, and CLIP-ViL's scripts say 500. The
    scale matters where gradients are clipped: after a clip at norm 1, only their direction is left.

    ``loss_scale`` has to be above 0.
    """

    def __init__(self, loss_scale: float = 1.0) -> None:
        super().__init__()
        self.loss_scale = _checked_scale("clipvil_bce", loss_scale)

    def forward(self, sample_list: Any, model_output: Any) -> Tensor:
        """() float32 of `scores` before the sigmoid and soft `targets`, both (B, labels)."""
        return scaled_bce(model_output["scores"], sample_list["targets"], self.loss_scale)


@registry.register_loss("clipvil_mce")
class ScaledMCE(nn.Module):
    """Mean cross entropy with each question's best answer: `--mceLoss` of the published GQA.

    As published it is multiplied by the number of labels, and then as `clipvil_bce` by
    ``loss_scale``, where 1 stands for the number of labels once more. A question without an answer
    among the labels adds nothing; the published code takes the first label for its answer.
    """

    def __init__(self, loss_scale: float = 1.0) -> None:
        super().__init__()
        self.loss_scale = _checked_scale("clipvil_mce", loss_scale)

    def forward(self, sample_list: Any, model_output: Any) -> Tensor:
        """() float32 of `scores` before the softmax and soft `targets`, both (B, labels)."""
        return scaled_mce(model_output["scores"], sample_list["targets"], self.loss_scale)


@registry.register_loss("clipvil_cross_entropy")
class ClassCrossEntropy(nn.Module):
    """Mean cross entropy over the samples that have a class, times a scale.

    The scale matters where gradients are clipped. As published it is 1 for SNLI-VE, and for NLVR2
    the number of classes, 2, unless a run names another one; ``loss_scale`` has to be above 0.

    MMF's own `cross_entropy` ends at a sample without a class, and where a batch has none with one.
    """

    def __init__(self, loss_scale: float = 1.0) -> None:
        super().__init__()
        self.loss_scale = _checked_scale("clipvil_cross_entropy", loss_scale)

    def forward(self, sample_list: Any, model_output: Any) -> Tensor:
        """() float32 of `scores` (B, classes) and `targets` (B,) int64, -1 for no class."""
        loss = class_cross_entropy(model_output["scores"], sample_list["targets"])
        return loss * self.loss_scale


@registry.register_loss("clipvil_task")
class TaskLoss(nn.Module):
    """The loss of the dataset's task, which need not be registered with MMF."""

    def forward(self, sample_list: Any, model_output: Any) -> Tensor:
        """() float32 of `scores` (B, labels) and the task's `targets`."""
        task = registry.get(f"{sample_list['dataset_name']}_task")
        return task.loss(model_output["scores"], sample_list["targets"])


class GivenLosses(nn.Module):
    """The losses that a network has computed itself, in the place of MMF's ``Losses``."""

    def forward(self, sample_list: Any, model_output: Any) -> dict[str, Tensor]:
        """``<split>/<dataset>/<name>`` -> (1,) float32, of the output's ``given_losses``."""
        where = f"{sample_list['dataset_type']}/{sample_list['dataset_name']}"
        given = model_output["given_losses"].items()
        return {f"{where}/{name}": loss.float().reshape(1) for name, loss in given}
