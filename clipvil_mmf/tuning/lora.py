"""LoRA (arXiv 2106.09685) in the attentions of the fusion, by the library peft."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from clipvil_mmf.config import ConfigError, check_at_least, check_probability
from clipvil_mmf.tuning.backbone import Network
from clipvil_mmf.tuning.method import HEAD, TOWER, VISUAL_PROJECTION, TuningMethod

# Query and value of every attention of the fusion.
_TARGETS = r"fusion\..*\.(query|value)"


@dataclass
class LoRAConfig:
    """`params` of the method `lora`; the defaults are those published for CLIP-ViL."""

    # The rank of what is added to a matrix.
    dim: int = 64
    # What is added counts alpha / dim times.
    alpha: int = 32
    # Dropout on its input.
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_at_least("dim", self.dim, 1)
        check_at_least("alpha", self.alpha, 1)
        check_probability("dropout", self.dropout)


class LoRA(TuningMethod):
    """Low-rank updates of queries and values; biases outside the tower learn as well.

    As published, so do the visual projection and the answer head.

    Args:
        config: the method's `params`.
        network: into whose attentions peft puts its layers.

    Raises:
        ConfigError: peft is not installed.
    """

    def __init__(self, config: LoRAConfig, network: Network) -> None:
        super().__init__(config, network)
        try:
            import peft
        except ModuleNotFoundError as error:
            raise ConfigError(
                "method: lora needs the library peft, which is not installed: pip install peft."
            ) from error
        peft.inject_adapter_in_model(
            peft.LoraConfig(
                r=config.dim,
                lora_alpha=config.alpha,
                lora_dropout=config.dropout,
                target_modules=_TARGETS,
            ),
            network,
        )

    def learns(self, name: str, owner: nn.Module) -> bool:
        """Low-rank factors, biases, visual projection and head do."""
        return (
            ".lora_" in name
            or name.startswith((HEAD, *VISUAL_PROJECTION))
            or (name.endswith(".bias") and not name.startswith(TOWER))
        )
