"""The pre-training heads of LXMERT and CLIP-ViL: masked words, image-text matching, answers."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.layers.published import Names
from clipvil_mmf.layers.transformer import LAYER_NORM_EPS, init_bert_weights


class PretrainingLosses(NamedTuple):
    """One mean cross-entropy a task, in the published order; 0 where nothing has a label."""

    masked_words: Tensor  # ()
    matching: Tensor  # ()
    answers: Tensor  # ()

    @property
    def total(self) -> Tensor:
        """Their sum, the published objective."""
        return self.masked_words + self.matching + self.answers


class PretrainingHeads(nn.Module):
    """Word scores at masked positions, and whether a sentence belongs to its image.

    The word scores are tied to the word embeddings (BERT, arXiv 1810.04805): the table is passed in
    and owned by the fusion alone. The third task, answers, has the head of visual question
    answering (`heads/mlp.py`). LXMERT's object prediction is not here: a grid has no objects.
    """

    published_names: ClassVar[Names] = {
        "transform.": "cls.predictions.transform.dense.",
        "LayerNorm.": "cls.predictions.transform.LayerNorm.",
        "word_bias": "cls.predictions.bias",
        "matching.": "cls.seq_relationship.",
    }
    # The first holds always, the second where the network is built without these heads.
    published_unused: ClassVar[Names] = {
        "cls.predictions.decoder.weight": "tied to the word embeddings, which have the same values",
        "cls.": "pre-training heads: masked words and image-text matching",
        "obj_predict_head.": "pre-training head: LXMERT's object prediction",
    }

    def __init__(self, hidden_size: int, vocab_size: int, initializer_range: float = 0.02) -> None:
        super().__init__()
        self.transform = nn.Linear(hidden_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.word_bias = nn.Parameter(torch.zeros(vocab_size))
        self.matching = nn.Linear(hidden_size, 2)
        init_bert_weights(self, initializer_range)

    def score_words(self, states: Tensor, table: Tensor) -> Tensor:
        """Last states of the text (..., D) and word embeddings (V, D) -> (..., V), no softmax."""
        return F.linear(self.LayerNorm(F.gelu(self.transform(states))), table, self.word_bias)

    def score_matching(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, 2) before the softmax; 1 is "the sentence belongs to the image"."""
        return self.matching(pooled)
