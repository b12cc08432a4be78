"""The pre-training heads: tied words, masked positions alone, batches without labels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from clipvil_mmf.heads.pretraining import PretrainingHeads
from clipvil_mmf.loss_functions import NO_CLASS, class_cross_entropy


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


def test_masked_positions_alone_are_scored(heads: PretrainingHeads) -> None:
    states, table = torch.randn(2, 5, 8), torch.randn(30, 8)
    labels = torch.full((2, 5), NO_CLASS)
    labels[0, 2], labels[1, 4], labels[1, 0] = 7, 3, 0  # 0 is a word piece like others here
    scored = []
    heads.transform.register_forward_hook(lambda m, args, o: scored.append(len(args[0])))
    loss = heads.word_loss(states, labels, table)
    assert scored == [3]
    scores = heads.score_words(states, table).flatten(0, 1)
    torch.testing.assert_close(loss, F.cross_entropy(scores, labels.flatten(), ignore_index=-1))


def test_without_labels_the_loss_is_zero(heads: PretrainingHeads) -> None:
    """A mean over nothing would be NaN; every parameter still takes part in the backward."""
    table = torch.randn(30, 8, requires_grad=True)
    loss = heads.word_loss(torch.randn(2, 5, 8), torch.full((2, 5), NO_CLASS), table)
    loss = loss + class_cross_entropy(
        heads.score_matching(torch.randn(2, 8)), torch.tensor([-1, -1])
    )
    assert loss.item() == 0
    loss.backward()
    for parameter in (table, *heads.parameters()):
        assert parameter.grad.abs().sum() == 0


def test_matching_has_two_scores(heads: PretrainingHeads) -> None:
    assert heads.score_matching(torch.randn(3, 8)).shape == (3, 2)
