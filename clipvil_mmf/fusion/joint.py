"""CLIP-ViL's fusion: text tokens and grid features in one BERT encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from clipvil_mmf.config import check_at_least
from clipvil_mmf.fusion.base import Fusion, transformer_layers
from clipvil_mmf.fusion.config import FusionConfig
from clipvil_mmf.fusion.text_embedding import TextEmbedding
from clipvil_mmf.layers.published import BERT, TEXT_EMBEDDING, TEXT_UNUSED, Names, layer_names
from clipvil_mmf.layers.recompute import run
from clipvil_mmf.layers.tokens import Text, Visual, joint_mask
from clipvil_mmf.layers.transformer import attention_bias, init_bert_weights


@dataclass
class JointConfig(FusionConfig):
    """`params` of the fusion `joint`: those of :class:`FusionConfig`, and the depth."""

    # Encoder layers, at least 1.
    num_hidden_layers: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("num_hidden_layers", self.num_hidden_layers, 1)


class JointFusion(Fusion):
    """Text and visual tokens side by side, N BERT layers, and a linear pooler on token 0.

    As in CLIP-ViL (arXiv 2107.06383), text comes first, a grid's tokens are never masked, and the
    pooler has no tanh.

    Args:
        config: widths, depths and dropout.
    """

    has_hidden_states = True
    published_names: ClassVar[Names] = {
        **TEXT_EMBEDDING,
        **layer_names("layers.{}.", f"{BERT}encoder.layer.{{}}."),
        "pooler.": f"{BERT}pooler.dense.",
    }
    published_unused = TEXT_UNUSED

    def __init__(self, config: JointConfig) -> None:
        super().__init__(config)
        self.embeddings = TextEmbedding(config)
        self.layers = transformer_layers(config, config.num_hidden_layers)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        init_bert_weights(self, config.initializer_range)

    def forward(self, text: Text, visual: Visual) -> Tensor:
        """The pooled output (B, D).

        Only token 0 is read after the last layer, so that layer is computed for token 0 alone.
        """
        return self.pool(self._read(1, text, visual))

    def language_states(self, text: Text, visual: Visual) -> Tensor:
        """The last layer's output for the text: (B, T, D)."""
        return self._read(text.input_ids.shape[1], text, visual)

    def hidden_states(self, text: Text, visual: Visual) -> Iterator[Tensor]:
        """Yield the embeddings and then each layer's output, all (B, T+N, D), as they appear.

        Nothing is kept here: a caller that reads a state and moves on holds one at a time.
        :meth:`pool` takes the last state.
        """
        hidden, bias = self._embed(text, visual)
        yield hidden
        for layer in self.layers:
            hidden = run(layer, hidden, None, bias, recompute=self.config.checkpoint_activations)
            yield hidden

    def pool(self, hidden: Tensor) -> Tensor:
        """(B, L, D) -> (B, D), from token 0."""
        return self.pooler(hidden[:, 0])

    def _read(self, count: int, text: Text, visual: Visual) -> Tensor:
        """The last layer's output for the first `count` tokens: (B, count, D)."""
        hidden, bias = self._embed(text, visual)
        recompute = self.config.checkpoint_activations
        for layer in self.layers[:-1]:
            hidden = run(layer, hidden, None, bias, recompute=recompute)
        return run(self.layers[-1], hidden[:, :count], hidden, bias, recompute=recompute)

    def _embed(self, text: Text, visual: Visual) -> tuple[Tensor, Tensor | None]:
        words = self.embeddings(text.input_ids, text.segment_ids)
        bias = attention_bias(joint_mask(text, visual))
        return torch.cat([words, visual.tokens], dim=1), bias
