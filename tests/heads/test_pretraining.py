"""The pre-training heads: tied words, two scores of a pair."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from clipvil_mmf.heads.pretraining import PretrainingHeads


@pytest.fixture
def heads() -> PretrainingHeads:
    module = PretrainingHeads(hidden_size=8, vocab_size=30, initializer_range=0.3)
    with torch.no_grad():
        module.word_bias.normal_()
    return module


def test_word_scores_are_tied_to_the_table(heads: PretrainingHeads) -> None:
    states, table = torch.randn(2, 5, 8), torch.randn(30, 8)
    hidden = heads.LayerNorm(F.gelu(heads.transform(states)))
    expected = hidden @ table.T + heads.word_bias
    torch.testing.assert_close(heads.score_words(states, table), expected)
    assert not any(p.shape == table.shape for p in heads.parameters())  # no table of its own


def test_matching_has_two_scores(heads: PretrainingHeads) -> None:
    assert heads.score_matching(torch.randn(3, 8)).shape == (3, 2)
