"""Word pieces -> text tokens, the same for every fusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clipvil_mmf.fusion.config import FusionConfig
from clipvil_mmf.layers.dropout import Dropout
from clipvil_mmf.layers.transformer import LAYER_NORM_EPS


class TextEmbedding(nn.Module):
    """BERT's sum of word, position and segment embeddings.

    All three tables have padding_idx 0, as published: the vectors of [PAD], of position 0 and of
    segment 0 never get a gradient.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.word = nn.Embedding(config.vocab_size, size, padding_idx=0)
        self.position = nn.Embedding(config.max_position_embeddings, size, padding_idx=0)
        self.segment = nn.Embedding(config.type_vocab_size, size, padding_idx=0)
        self.LayerNorm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, segment_ids: Tensor) -> Tensor:
        """Embed a batch of questions: (B, T) int64 twice -> (B, T, D).

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
