"""A fusion: the mean of the words gates the mean of the visual tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipvil_mmf.config import check_at_least
from clipvil_mmf.fusion import Fusion, Text, Visual
from clipvil_mmf.fusion.config import FusionConfig
from clipvil_mmf.fusion.text_embedding import TextEmbedding
from clipvil_mmf.layers.published import TEXT_EMBEDDING


@dataclass
class BagConfig(FusionConfig):
    """`params` of the fusion `bag`: those that all fusions share, and the depth."""

    # Linear layers after the gate, at least 1.
    num_hidden_layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("num_hidden_layers", self.num_hidden_layers, 1)


class BagFusion(Fusion):
    """No attention at all; its word embeddings are BERT's, which a BERT file fills.

    Args:
        config: the fusion's `params`.
    """

    published_names = TEXT_EMBEDDING

    def __init__(self, config: BagConfig) -> None:
        super().__init__(config)
        width, depth = config.hidden_size, config.num_hidden_layers
        self.embeddings = TextEmbedding(config)
        self.gate = nn.Linear(width, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, text: Text, visual: Visual) -> Tensor:
        """Words (B, T) and visual tokens (B, N, D) -> pooled (B, D)."""
        words = _mean(self.embeddings(text.input_ids, text.segment_ids), text.input_mask)
        image = _mean(visual.tokens, visual.mask)
        pooled = torch.sigmoid(self.gate(words)) * image + words
        for layer in self.layers:
            pooled = pooled + torch.relu(layer(pooled))
        return pooled


def _mean(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """(B, L, D) -> (B, D), over the tokens that are not padding."""
    if mask is None:
        return tokens.mean(dim=1)
    weights = mask.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)
