"""CLIP-ViL's fusion: text tokens and grid features in one BERT encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError, check_at_least, check_probability
from clipvil_mmf.fusion.layers import (
    LAYER_NORM_EPS,
    TransformerLayer,
    attention_bias,
    init_bert_weights,
    pad_mask,
)


@dataclass
class JointConfig:
    """`params` of the fusion `joint`; the defaults are BERT-base's, as published."""

    # D, the width of every token.
    hidden_size: int = 768
    # Encoder layers, at least 1.
    num_hidden_layers: int = 12
    # Attention heads; they divide hidden_size.
    num_attention_heads: int = 12
    # Width inside the feed-forward.
    intermediate_size: int = 3072
    # Word pieces of the tokenizer's vocabulary.
    vocab_size: int = 30522
    # The longest question in word pieces, [CLS] and [SEP] included.
    max_position_embeddings: int = 512
    # Segments that a question may have.
    type_vocab_size: int = 2
    # Dropout on embeddings and on the output of every attention and feed-forward.
    hidden_dropout_prob: float = 0.1
    # Dropout on attention weights.
    attention_probs_dropout_prob: float = 0.1
    # Standard deviation of the initial weights, of the visual embedding's as well.
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        for key in (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "vocab_size",
            "max_position_embeddings",
            "type_vocab_size",
        ):
            check_at_least(key, getattr(self, key), 1)
        check_at_least("initializer_range", self.initializer_range, 0.0)
        check_probability("hidden_dropout_prob", self.hidden_dropout_prob)
        check_probability("attention_probs_dropout_prob", self.attention_probs_dropout_prob)
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"num_attention_heads: {self.num_attention_heads} does not divide "
                f"hidden_size {self.hidden_size}."
            )


class TextEmbedding(nn.Module):
    """BERT's sum of word, position and segment embeddings.

    All three tables have padding_idx 0, as published: the vectors of [PAD], of position 0 and of
    segment 0 never get a gradient.
    """

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.word = nn.Embedding(config.vocab_size, size, padding_idx=0)
        self.position = nn.Embedding(config.max_position_embeddings, size, padding_idx=0)
        self.segment = nn.Embedding(config.type_vocab_size, size, padding_idx=0)
        self.LayerNorm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, segment_ids: Tensor) -> Tensor:
        """Embed a batch of questions.

        Args:
            input_ids: (B, T) int64.
            segment_ids: (B, T) int64.

        Returns:
            (B, T, D).

        Raises:
            ValueError: T exceeds `max_position_embeddings`.
        """
        length = input_ids.shape[1]
        if length > self.position.num_embeddings:
            raise ValueError(
                f"A question has {length} word pieces, but fusion.params.max_position_embeddings "
                f"is {self.position.num_embeddings}: cut questions in the text processor "
                f"(max_seq_length) or raise max_position_embeddings."
            )
        # The lookup (not a slice) keeps position 0 without a gradient.
        positions = self.position(torch.arange(length, device=input_ids.device))
        embedded = self.word(input_ids) + positions + self.segment(segment_ids)
        return self.dropout(self.LayerNorm(embedded))


class JointFusion(nn.Module):
    """Text and visual tokens side by side, N BERT layers, and a linear pooler on token 0.

    As in CLIP-ViL (arXiv 2107.06383), text comes first, visual tokens are never masked, and the
    pooler has no tanh.

    Args:
        config: widths, depths and dropout.
    """

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = TextEmbedding(config)
        self.layers = nn.ModuleList(
            TransformerLayer(
                config.hidden_size,
                config.num_attention_heads,
                config.intermediate_size,
                attention_dropout=config.attention_probs_dropout_prob,
                hidden_dropout=config.hidden_dropout_prob,
            )
            for _ in range(config.num_hidden_layers)
        )
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        init_bert_weights(self, config.initializer_range)

    @property
    def hidden_size(self) -> int:
        """D, the width of tokens and of the pooled output."""
        return self.config.hidden_size

    def forward(
        self, input_ids: Tensor, input_mask: Tensor, segment_ids: Tensor, visual_tokens: Tensor
    ) -> Tensor:
        """Encode questions with their images.

        Only token 0 is read after the last layer, so that layer is computed for token 0 alone.

        Args:
            input_ids: (B, T) int64.
            input_mask: (B, T), 1 for word pieces, 0 for padding.
            segment_ids: (B, T) int64.
            visual_tokens: (B, N, D).

        Returns:
            Pooled output (B, D).
        """
        hidden, bias = self._embed(input_ids, input_mask, segment_ids, visual_tokens)
        for layer in self.layers[:-1]:
            hidden = layer(hidden, bias=bias)
        return self.pool(self.layers[-1](hidden[:, :1], context=hidden, bias=bias))

    def hidden_states(
        self, input_ids: Tensor, input_mask: Tensor, segment_ids: Tensor, visual_tokens: Tensor
    ) -> Iterator[Tensor]:
        """Yield the embeddings and then each layer's output, all (B, T+N, D), as they appear.

        Nothing is kept here: a caller that reads a state and moves on holds one at a time.
        Arguments are those of :meth:`forward`; :meth:`pool` takes the last state.
        """
        hidden, bias = self._embed(input_ids, input_mask, segment_ids, visual_tokens)
        yield hidden
        for layer in self.layers:
            hidden = layer(hidden, bias=bias)
            yield hidden

    def pool(self, hidden: Tensor) -> Tensor:
        """(B, L, D) -> (B, D), from token 0."""
        return self.pooler(hidden[:, 0])

    def _embed(
        self, input_ids: Tensor, input_mask: Tensor, segment_ids: Tensor, visual_tokens: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        text = self.embeddings(input_ids, segment_ids)
        bias = attention_bias(pad_mask(input_mask, visual_tokens.shape[1]))
        return torch.cat([text, visual_tokens], dim=1), bias
