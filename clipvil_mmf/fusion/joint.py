"""CLIP-ViL's fusion: text tokens and grid features in one BERT encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from clipvil_mmf.config import check_at_least, check_at_most
from clipvil_mmf.fusion.base import AttentionRead, BertFusion, transformer_layers
from clipvil_mmf.fusion.config import MOST_LAYERS, FusionConfig
from clipvil_mmf.fusion.text_embedding import TextEmbedding
from clipvil_mmf.layers.published import BERT, TEXT_EMBEDDING, TEXT_UNUSED, Names, layer_names
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
        check_at_most("num_hidden_layers", self.num_hidden_layers, MOST_LAYERS)


class JointFusion(BertFusion):
    """Text and visual tokens side by side, N BERT layers, and a linear pooler on token 0.

    As in CLIP-ViL (arXiv 2107.06383), text comes first, a grid's tokens are never masked, and the
    pooler has no tanh.
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

    def hidden_states(self, text: Text, visual: Visual) -> Iterator[Tensor]:
        """Yield the embeddings and then each layer's output, all (B, T+N, D), as they appear.

        Nothing is kept here: a caller that reads a state and moves on holds one at a time.
        :meth:`pool` takes the last state.
        """
        hidden, bias = self._embed(text, visual)
        yield hidden
        for layer in self.layers:
            hidden = self._run(layer, hidden, None, bias)
            yield hidden

    def pool(self, hidden: Tensor) -> Tensor:
        """(B, L, D) -> (B, D), from token 0."""
        return self.pooler(hidden[:, 0])

    def attention_steps(self) -> list[list[AttentionRead]]:
        return [[(layer.attention, "both", "both")] for layer in self.layers]

    def _read(self, count: int, text: Text, visual: Visual) -> Tensor:
        hidden, bias = self._embed(text, visual)
        for layer in self.layers[:-1]:
            hidden = self._run(layer, hidden, None, bias)
        return self._run(self.layers[-1], hidden[:, :count], hidden, bias)

    def _embed(self, text: Text, visual: Visual) -> tuple[Tensor, Tensor | None]:
        words = self.embeddings(text.input_ids, text.segment_ids)
        bias = attention_bias(joint_mask(text, visual))
        return torch.cat([words, visual.tokens], dim=1), bias
