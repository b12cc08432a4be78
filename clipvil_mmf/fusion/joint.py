"""CLIP-ViL's fusion: text tokens and grid features in one BERT encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipvil_mmf.config import check_at_least
from clipvil_mmf.fusion.config import FusionConfig
from clipvil_mmf.fusion.layers import (
    attention_bias,
    init_bert_weights,
    pad_mask,
    run,
    transformer_layers,
)
from clipvil_mmf.fusion.text_embedding import TextEmbedding


@dataclass
class JointConfig(FusionConfig):
    """`params` of the fusion `joint`: those of :class:`FusionConfig`, and the depth."""

    # Encoder layers, at least 1.
    num_hidden_layers: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("num_hidden_layers", self.num_hidden_layers, 1)


class JointFusion(nn.Module):
    """Text and visual tokens side by side, N BERT layers, and a linear pooler on token 0.

    As in CLIP-ViL (arXiv 2107.06383), text comes first, a grid's tokens are never masked, and the
    pooler has no tanh.

    Args:
        config: widths, depths and dropout.
    """

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = TextEmbedding(config)
        self.layers = transformer_layers(config, config.num_hidden_layers)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        init_bert_weights(self, config.initializer_range)

    @property
    def hidden_size(self) -> int:
        """D, the width of tokens and of the pooled output."""
        return self.config.hidden_size

    def forward(
        self,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        visual_tokens: Tensor,
        visual_mask: Tensor | None = None,
    ) -> Tensor:
        """Encode questions with their images.

        Only token 0 is read after the last layer, so that layer is computed for token 0 alone.

        Args:
            input_ids: (B, T) int64.
            input_mask: (B, T), 1 for word pieces, 0 for padding.
            segment_ids: (B, T) int64.
            visual_tokens: (B, N, D).
            visual_mask: (B, N), 1 for tokens, 0 for padding; None when all are tokens.

        Returns:
            Pooled output (B, D).
        """
        text = (input_ids, input_mask, segment_ids)
        return self.pool(self._read(1, *text, visual_tokens, visual_mask))

    def language_states(
        self,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        visual_tokens: Tensor,
        visual_mask: Tensor | None = None,
    ) -> Tensor:
        """The last layer's output for the text: (B, T, D); arguments as for :meth:`forward`."""
        text = (input_ids, input_mask, segment_ids)
        return self._read(input_ids.shape[1], *text, visual_tokens, visual_mask)

    def hidden_states(
        self,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        visual_tokens: Tensor,
        visual_mask: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Yield the embeddings and then each layer's output, all (B, T+N, D), as they appear.

        Nothing is kept here: a caller that reads a state and moves on holds one at a time.
        Arguments are those of :meth:`forward`; :meth:`pool` takes the last state.
        """
        text = (input_ids, input_mask, segment_ids)
        hidden, bias = self._embed(*text, visual_tokens, visual_mask)
        yield hidden
        for layer in self.layers:
            hidden = run(layer, hidden, None, bias, again=self.config.checkpoint_activations)
            yield hidden

    @staticmethod
    def joint_mask(
        input_mask: Tensor, visual_tokens: Tensor, visual_mask: Tensor | None = None
    ) -> Tensor:
        """The padding mask (B, T+N) of text and visual tokens; arguments as for :meth:`forward`."""
        if visual_mask is None:
            return pad_mask(input_mask, visual_tokens.shape[1])
        return torch.cat([input_mask, visual_mask.to(input_mask.dtype)], dim=1)

    def pool(self, hidden: Tensor) -> Tensor:
        """(B, L, D) -> (B, D), from token 0."""
        return self.pooler(hidden[:, 0])

    def _read(
        self,
        count: int,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        visual_tokens: Tensor,
        visual_mask: Tensor | None,
    ) -> Tensor:
        """The last layer's output for the first `count` tokens: (B, count, D)."""
        hidden, bias = self._embed(input_ids, input_mask, segment_ids, visual_tokens, visual_mask)
        again = self.config.checkpoint_activations
        for layer in self.layers[:-1]:
            hidden = run(layer, hidden, None, bias, again=again)
        return run(self.layers[-1], hidden[:, :count], hidden, bias, again=again)

    def _embed(
        self,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        visual_tokens: Tensor,
        visual_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        text = self.embeddings(input_ids, segment_ids)
        bias = attention_bias(self.joint_mask(input_mask, visual_tokens, visual_mask))
        return torch.cat([text, visual_tokens], dim=1), bias
