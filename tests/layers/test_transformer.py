"""Attention and feed-forward against the formulas, written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from clipvil_mmf.layers.tokens import Text, Visual, joint_mask
from clipvil_mmf.layers.transformer import (
    Attention,
    FeedForward,
    TransformerLayer,
    attention_bias,
    init_bert_weights,
)


def written_out(
    module: Attention, hidden: torch.Tensor, context: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    heads, size = module.num_heads, hidden.shape[-1]
    query, key, value = module.query(hidden), module.key(context), module.value(context)
    parts = []
    for head in range(heads):
        part = slice(head * size // heads, (head + 1) * size // heads)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size // heads)
        scores = scores + (1.0 - mask[:, None, :]) * -10000.0
        parts.append(scores.softmax(-1) @ value[..., part])
    return module.LayerNorm(module.output(torch.cat(parts, -1)) + hidden)


@pytest.mark.parametrize("context_size", [None, 20])
def test_attention(context_size: int | None) -> None:
    """Self-attention, and cross-attention to a context of another width and length."""
    module = Attention(16, 4, context_size=context_size)
    init_bert_weights(module, std=0.3)
    hidden = torch.randn(2, 5, 16)
    context = hidden if context_size is None else torch.randn(2, 7, context_size)
    mask = torch.ones(2, context.shape[1])
    mask[0, 3:] = 0
    got = module(hidden, None if context_size is None else context, attention_bias(mask))
    torch.testing.assert_close(got, written_out(module, hidden, context, mask))


def test_heads_must_divide() -> None:
    with pytest.raises(ValueError, match="3 attention heads do not divide a width of 16"):
        Attention(16, 3)


def test_masked_tokens_have_no_influence() -> None:
    layer = TransformerLayer(16, 4, 32)
    hidden = torch.randn(1, 6, 16)
    bias = attention_bias(torch.tensor([[1, 1, 1, 1, 0, 0]]))
    changed = hidden.clone()
    changed[:, 4:] += 5
    torch.testing.assert_close(layer(hidden, bias=bias)[:, :4], layer(changed, bias=bias)[:, :4])
    assert not torch.allclose(layer(hidden)[:, :4], layer(changed)[:, :4])


def test_no_bias_when_nothing_is_masked() -> None:
    assert attention_bias(torch.ones(2, 3, dtype=torch.long)) is None
    bias = attention_bias(torch.tensor([[1, 0]]))
    assert bias.shape == (1, 1, 1, 2) and bias.flatten().tolist() == [0.0, -10000.0]


def test_the_joint_mask_is_that_of_text_and_visual_tokens() -> None:
    text = Text(torch.tensor([[5, 0]]), torch.tensor([[1, 0]]), torch.zeros(1, 2))
    tokens = torch.randn(1, 2, 8)
    assert joint_mask(text, Visual(tokens)).tolist() == [[1, 0, 1, 1]]
    assert joint_mask(text, Visual(tokens, torch.tensor([[True, False]]))).tolist() == [
        [1, 0, 1, 0]
    ]


def test_feed_forward_uses_erf_gelu() -> None:
    module = FeedForward(8, 12)
    hidden = torch.randn(2, 3, 8) * 3
    inner = module.intermediate(hidden)
    inner = inner * 0.5 * (1.0 + torch.erf(inner / math.sqrt(2.0)))
    torch.testing.assert_close(module(hidden), module.LayerNorm(module.output(inner) + hidden))


def test_dropout_is_on_in_training_only() -> None:
    hidden = torch.randn(1, 50, 16)
    for dropout in ({"attention_dropout": 0.5}, {"hidden_dropout": 0.5}):
        layer = TransformerLayer(16, 4, 32, **dropout)
        init_bert_weights(layer, std=0.5)
        assert not torch.equal(layer(hidden), layer(hidden))
        layer.eval()
        assert torch.equal(layer(hidden), layer(hidden))


def test_initialisation() -> None:
    module = nn.Sequential(nn.Linear(300, 300), nn.Embedding(300, 300, 0), nn.LayerNorm(300))
    init_bert_weights(module)
    linear, embedding, norm = module
    for weight in (linear.weight.detach(), embedding.weight.detach()):
        assert weight.mean().abs() < 1e-3 and abs(float(weight.std()) - 0.02) < 1e-3
    assert linear.bias.abs().sum() == 0
    assert norm.weight.unique().tolist() == [1.0] and norm.bias.abs().sum() == 0
