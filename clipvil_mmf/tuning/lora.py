"""LoRA (arXiv 2106.09685) in the attentions of the fusion, by the library peft."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor, nn

from clipvil_mmf.config import ConfigError, check_at_least, check_probability
from clipvil_mmf.layers.published import Names
from clipvil_mmf.tuning.inside import InsideConfig, InsideMethod
from clipvil_mmf.tuning.method import TOWER, Network

# Query and value of every attention of the fusion.
_TARGETS = r"fusion\..*\.(query|value)"
# peft puts a matrix into a module of its own, beside its low-rank factors.
_BASE_LAYER, _FACTORS = ".base_layer.", ".lora_"
# What peft calls the factors -> as published, for the task vqa.
_PUBLISHED = {"lora_A.default.weight": "lora_As.vqa", "lora_B.default.weight": "lora_Bs.vqa"}


@dataclass
class LoRAConfig(InsideConfig):
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


class LoRA(InsideMethod):
    """Low-rank updates of queries and values; biases outside the tower are trainable as well.

    As published, so are the visual projection and the answer head.

    Raises:
        ConfigError: peft is not installed, or the fusion has no such matrices.
    """

    def __init__(self, config: LoRAConfig, network: Network) -> None:
        super().__init__(config, network)
        try:
            import peft
        except ModuleNotFoundError as error:
            raise ConfigError(
                "method: lora needs the library peft, which is not installed: pip install peft."
            ) from error
        given = {"r": config.dim, "lora_alpha": config.alpha, "lora_dropout": config.dropout}
        if not any(re.fullmatch(_TARGETS, name) for name, _ in network.named_modules()):
            raise ConfigError(
                "method: lora adapts the query and value matrices of the fusion's layers, and this "
                "fusion has none."
            )
        peft.inject_adapter_in_model(peft.LoraConfig(**given, target_modules=_TARGETS), network)

    def is_trainable(self, name: str, owner: nn.Module) -> bool:
        """Low-rank factors, biases, visual projection and head are."""
        return (
            _FACTORS in name
            or (name.endswith(".bias") and not name.startswith(TOWER))
            or super().is_trainable(name, owner)
        )

    @staticmethod
    def backbone_name(name: str) -> str | None:
        """See :meth:`TuningMethod.backbone_name`."""
        return None if _FACTORS in name else name.replace(_BASE_LAYER, ".")

    def merged_state(self, network: nn.Module) -> dict[str, Tensor]:
        """The state dict of the network with the low-rank parts added to their matrices."""
        from peft.tuners.lora import LoraLayer

        for module in network.modules():
            if isinstance(module, LoraLayer):
                module.merge(safe_merge=True)
        named = {self.backbone_name(name): value for name, value in network.state_dict().items()}
        return {name: value for name, value in named.items() if name is not None}

    @classmethod
    def published_names_beside(cls, fusion: Names) -> Names:
        """The factors' names begin with those of their matrix."""
        return {
            f"{ours}{factor}": f"{theirs}{published}"
            for ours, theirs in fusion.items()
            if ours.endswith((".query.", ".value."))
            for factor, published in _PUBLISHED.items()
        }
