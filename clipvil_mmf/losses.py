"""MMF's loss `clipvil_bce`: binary cross entropy in the published scale."""

from __future__ import annotations

from typing import Any

from mmf.common.registry import registry
from torch import Tensor, nn

from clipvil_mmf.bce import scaled_bce
from clipvil_mmf.config import ConfigError


@registry.register_loss("clipvil_bce")
class ScaledBCE(nn.Module):
    """Mean binary cross entropy over all answers of all questions, times a scale.

    As published, `loss_scale: 1` stands for LXMERT's scale, the number of answers (then this is
    MMF's `logit_bce`); any other value is the factor itself, and CLIP-ViL's scripts say 500. The
    scale matters where gradients are clipped: after a clip at norm 1, only their direction is left.

    Args:
        loss_scale: the factor, above 0.

    Raises:
        ConfigError: it is not.
    """

    def __init__(self, loss_scale: float = 1.0) -> None:
        super().__init__()
        if not loss_scale > 0:
            raise ConfigError(
                f"losses: clipvil_bce's params.loss_scale: got {loss_scale}, expected above 0."
            )
        self.loss_scale = loss_scale

    def forward(self, sample_list: Any, model_output: Any) -> Tensor:
        """Compute the loss of a batch.

        Args:
            sample_list: `targets` (B, answers), soft targets in [0, 1].
            model_output: `scores` (B, answers), before the sigmoid.

        Returns:
            () float32.
        """
        return scaled_bce(model_output["scores"], sample_list["targets"], self.loss_scale)
