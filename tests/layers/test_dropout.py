"""Dropout on CPU: its rate, its scale, its gradient, its seed, its mask's size."""

from __future__ import annotations

import pytest
import torch

from clipvil_mmf.fusion.base import transformer_layers
from clipvil_mmf.fusion.config import FusionConfig
from clipvil_mmf.layers import transformer
from clipvil_mmf.layers.dropout import Dropout, drop
from clipvil_mmf.layers.transformer import Attention


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_its_rate_and_scale(p: float) -> None:
    torch.manual_seed(0)
    values = torch.ones(1000, 1003)
    dropped = drop(values, p)
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / (1 - p), rel=1e-4)]
    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=2e-3)
    assert dropped.mean().item() == pytest.approx(1, abs=1e-2)


def test_neighbours_are_independent() -> None:
    """Four values share one random word."""
    torch.manual_seed(0)
    kept = (drop(torch.ones(400_000), 0.5) != 0).float().view(-1, 4)
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max().item() < 0.015
    assert (kept.mean(0) - 0.5).abs().max().item() < 0.006


def test_the_gradient_has_the_values_mask() -> None:
    values = torch.randn(7, 5, requires_grad=True)
    dropped = drop(values, 0.4)
    dropped.sum().backward()
    assert torch.equal(values.grad * values, dropped)


def test_a_seed_repeats_it() -> None:
    values = torch.ones(999)
    torch.manual_seed(3)
    first = drop(values, 0.3)
    again = drop(values, 0.3)
    torch.manual_seed(3)
    assert torch.equal(first, drop(values, 0.3)) and not torch.equal(first, again)


def test_the_ends_of_the_range() -> None:
    values = torch.randn(10)
    assert drop(values, 0.0) is values
    assert torch.equal(drop(values, 1.0), torch.zeros(10))
    assert Dropout(0.5).eval()(values) is values


def test_what_is_kept_for_the_backward_pass_is_a_byte_a_value() -> None:
    saved: list[torch.Tensor] = []
    values = torch.randn(64, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        drop(values, 0.1)
    assert sum(tensor.numel() * tensor.element_size() for tensor in saved) == 64 * 64


def test_every_dropout_of_a_layer_is_this_one() -> None:
    layer = transformer_layers(FusionConfig(hidden_size=8, num_attention_heads=2), 1)[0]
    kinds = [type(m) for m in layer.modules() if isinstance(m, torch.nn.Dropout)]
    assert kinds == [Dropout, Dropout]


def test_attention_weights_are_dropped_and_keep_their_expectation() -> None:
    """With a value of ones, attention gives the sum of the weights that were not dropped."""
    torch.manual_seed(0)
    attention = Attention(8, 2, attention_dropout=0.25)
    query, key = torch.randn(2, 64, 2, 50, 4)
    value = torch.ones(64, 2, 50, 4)
    bias = torch.zeros(64, 1, 1, 50)
    bias[..., 40:] = -10000
    attended = attention._attend(query, key, value, bias)
    assert attended.std().item() > 0.05
    assert attended.mean().item() == pytest.approx(1, abs=0.01)
    attention.eval()
    whole = attention._attend(query, key, value, bias)
    assert torch.allclose(whole, torch.ones_like(whole))


@pytest.mark.parametrize("masked", [True, False])
def test_attention_by_hand_in_bf16_is_the_kernels(masked: bool) -> None:
    """Without dropout, forward and backward, against torch's fused attention in float32."""
    torch.manual_seed(0)
    attention = Attention(16, 2).eval()
    exact = [torch.randn(5, 2, length, 8).bfloat16().float() for length in (4, 6, 6)]
    bias = torch.where(torch.rand(5, 1, 1, 6) < 0.5, -10000.0, 0.0) if masked else None
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        inputs = [tensor.to(dtype, copy=True).requires_grad_() for tensor in exact]
        attended = attention._attend(*inputs, None if bias is None else bias.to(dtype))
        attended.float().square().sum().backward()
        found.append([attended, *(tensor.grad for tensor in inputs)])
    for in_float, in_half in zip(*found, strict=True):
        assert in_half.dtype == torch.bfloat16
        torch.testing.assert_close(in_half.float(), in_float, atol=0.05, rtol=0.05)


def test_without_anything_dropped_the_two_ways_of_attention_agree() -> None:
    """A rate too small to drop: the explicit steps against torch's fused attention."""
    torch.manual_seed(0)
    attention = Attention(8, 2, attention_dropout=1e-6)
    query, key, value = torch.randn(3, 4, 2, 9, 4)
    bias = torch.zeros(4, 1, 1, 9)
    bias[1, ..., 5:] = -10000
    explicit = attention._attend(query, key, value, bias)
    attention.eval()
    assert torch.allclose(explicit, attention._attend(query, key, value, bias), atol=1e-6)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_attention_of_some_questions_at_a_time_is_that_of_all(
    monkeypatch: pytest.MonkeyPatch, masked: bool, shared: bool
) -> None:
    """The same random numbers are dropped, and the gradients are the same."""
    attention = Attention(8, 2, attention_dropout=0.25)
    query, key, value = (torch.randn(5, 2, length, 4) for length in (4, 6, 6))
    bias = torch.where(torch.rand(1 if shared else 5, 1, 1, 6) < 0.5, -10000.0, 0.0)
    found = []
    for size in (2**22, 4 * 2 * 2 * 4 * 6):  # bytes: all questions; two at a time, and the last
        monkeypatch.setattr(transformer, "_SCORE_BYTES", size)
        torch.manual_seed(0)
        inputs = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
        attended = attention._attend(*inputs, bias if masked else None)
        attended.square().sum().backward()
        found.append([attended, *(tensor.grad for tensor in inputs)])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole)
