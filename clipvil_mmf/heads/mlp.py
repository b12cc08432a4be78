"""The answer classifier of LXMERT and CLIP-ViL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.config import check_at_least
from clipvil_mmf.heads.base import Head
from clipvil_mmf.layers.published import Names
from clipvil_mmf.layers.transformer import LAYER_NORM_EPS, init_bert_weights


@dataclass
class MlpConfig:
    """`params` of the classifier `mlp`."""

    # Width between the two linears; null for twice the fusion's width, as published.
    hidden_size: int | None = None
    # Standard deviation of the initial weights.
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        if self.hidden_size is not None:
            check_at_least("hidden_size", self.hidden_size, 1)
        check_at_least("initializer_range", self.initializer_range, 0.0)


class MlpHead(Head):
    """Linear, erf GELU, LayerNorm, Linear (LXMERT, arXiv 1908.07490), from D to the labels."""

    label_tensors = ("output.weight", "output.bias")
    published_names: ClassVar[Names] = {
        "hidden.": "logit_fc.0.",
        "norm.": "logit_fc.2.",
        "output.": "logit_fc.3.",
    }

    def __init__(self, config: MlpConfig, in_features: int, num_labels: int) -> None:
        super().__init__(config)
        hidden_size = 2 * in_features if config.hidden_size is None else config.hidden_size
        self.hidden = nn.Linear(in_features, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.output = nn.Linear(hidden_size, num_labels)
        init_bert_weights(self, config.initializer_range)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) -> scores (B, answers)."""
        return self.output(self.norm(F.gelu(self.hidden(pooled))))
