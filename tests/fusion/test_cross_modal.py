"""LXMERT's encoder: what sees what, the short last layer, masks, what is trainable, precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion import CrossModalConfig, CrossModalFusion, Text, Visual, build_fusion
from tests.fusion.checkpointing import check_checkpointing

TINY = {
    "hidden_size": 32,
    "language_layers": 2,
    "cross_layers": 2,
    "visual_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 50,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.2,
}


def cross_modal(**changes: Any) -> CrossModalFusion:
    return build_fusion({"type": "cross_modal", "params": {**TINY, **changes}})


def batch(length: int = 7, padding: int = 2) -> tuple[Text, Visual]:
    ids = torch.randint(1, 50, (3, length))
    mask = torch.ones_like(ids)
    if padding:
        ids[0, -padding:] = 0
        mask[0, -padding:] = 0
    return Text(ids, mask, torch.zeros_like(ids)), Visual(torch.randn(3, 6, 32))


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_short_last_layer_equals_the_whole(masked: bool) -> None:
    """The last layer computes token 0 of the text alone: same output, same gradients."""
    fusion = cross_modal()
    inputs = batch()
    if masked:
        visual_mask = torch.ones(3, 6, dtype=torch.long)
        visual_mask[1, 4:] = 0
        inputs = (inputs[0], Visual(inputs[1].tokens, visual_mask))
    tokens = inputs[1].tokens.requires_grad_()
    results = []
    for pooled in (
        lambda: fusion(*inputs),
        lambda: fusion.pool(fusion.encode(*inputs)[0]),
        lambda: fusion.pool(fusion.language_states(*inputs)),
    ):
        fusion.zero_grad()
        tokens.grad = None
        output = pooled()
        output.square().sum().backward()
        gradients = {name: p.grad for name, p in fusion.named_parameters()}
        results.append((output, tokens.grad, gradients))
    output, image_gradient, gradients = results[0]
    for other, other_image_gradient, other_gradients in results[1:]:
        torch.testing.assert_close(output, other)
        torch.testing.assert_close(image_gradient, other_image_gradient, atol=1e-5, rtol=1e-4)
        for name, gradient in other_gradients.items():
            assert (gradient is None) is (gradients[name] is None), name
            if gradient is not None:
                torch.testing.assert_close(gradient, gradients[name], atol=1e-5, rtol=1e-4)


def test_short_last_layer_leaves_the_visual_side_out() -> None:
    fusion = cross_modal()
    lengths: dict[str, list[int]] = {"first": [], "last": []}
    for name, layer in zip(lengths, fusion.cross_layers, strict=True):
        for part in (layer.cross_attention, layer.language, layer.visual):
            part.register_forward_hook(
                lambda module, args, output, name=name: lengths[name].append(output.shape[1])
            )
    fusion(*batch())
    assert lengths == {"first": [7, 6, 7, 6], "last": [7, 1]}


def test_both_directions_share_the_cross_attention() -> None:
    """Each side attends to the other's input, not to what has already seen it."""
    layer = cross_modal().cross_layers[0]
    language, visual = torch.randn(2, 5, 32), torch.randn(2, 4, 32)
    got = layer(language, visual)
    attention = layer.cross_attention
    torch.testing.assert_close(got[0], layer.language(attention(language, visual)))
    torch.testing.assert_close(got[1], layer.visual(attention(visual, language)))


def test_modalities_meet_in_the_cross_layers_only() -> None:
    fusion = cross_modal().eval()
    seen: dict[str, torch.Tensor] = {}
    for name in ("language_layers", "visual_layers"):
        getattr(fusion, name)[-1].register_forward_hook(
            lambda module, args, output, name=name: seen.update({name: output})
        )
    text, visual = batch()
    with torch.no_grad():
        pooled = fusion(text, visual)
        before = dict(seen)
        changed_image = fusion(text, Visual(visual.tokens + 1))
    assert torch.equal(before["language_layers"], seen["language_layers"])
    assert not torch.allclose(before["visual_layers"], seen["visual_layers"])
    assert not torch.allclose(pooled, changed_image)


def test_length_of_padding_does_not_matter() -> None:
    fusion = cross_modal().eval()
    text, visual = batch(length=5, padding=0)
    grown = Text(*(torch.nn.functional.pad(field, (0, 8)) for field in text))
    expected = fusion(text, visual)
    torch.testing.assert_close(expected, fusion(grown, visual))
    padded = torch.cat([visual.tokens, torch.randn(3, 2, 32)], dim=1)
    visual_mask = torch.tensor([[1] * 6 + [0] * 2] * 3)
    torch.testing.assert_close(expected, fusion(text, Visual(padded, visual_mask)))
    assert not torch.allclose(expected, fusion(text, Visual(padded)))


def test_pooler_has_tanh() -> None:
    fusion = cross_modal()
    hidden = torch.randn(2, 4, 32) * 10
    torch.testing.assert_close(fusion.pool(hidden), torch.tanh(fusion.pooler(hidden[:, 0])))


def test_everything_that_asks_for_a_gradient_gets_one() -> None:
    fusion = cross_modal()
    fusion(*batch()).square().sum().backward()
    for name, parameter in fusion.named_parameters():
        last_visual = name.startswith("cross_layers.1.visual.")
        assert parameter.requires_grad is not last_visual, name
        assert (parameter.grad is None) is last_visual, name


@pytest.mark.parametrize(
    "depths",
    [{"language_layers": 0, "visual_layers": 0, "cross_layers": 1}, {"cross_layers": 3}],
)
def test_depths(depths: dict[str, int]) -> None:
    fusion = cross_modal(**depths)
    for key, count in {**TINY, **depths}.items():
        if key.endswith("_layers"):
            assert len(getattr(fusion, key)) == count
    assert fusion(*batch()).shape == (3, 32)


def test_defaults_are_lxmerts() -> None:
    config = CrossModalConfig()
    assert (config.language_layers, config.cross_layers, config.visual_layers) == (9, 5, 5)
    assert (config.hidden_size, config.num_attention_heads, config.intermediate_size) == (
        768,
        12,
        3072,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_layers": 0}, r"fusion\.params\.cross_layers: got 0, expected at least 1"),
        ({"language_layers": -1}, r"params\.language_layers: got -1, expected at least 0"),
        ({"visual_layers": -1}, r"params\.visual_layers: got -1, expected at least 0"),
        ({"num_attention_heads": 5}, r"params\.num_attention_heads: 5 does not divide"),
        ({"num_hidden_layers": 3}, r"params\.num_hidden_layers: unknown key"),
    ],
)
def test_bad_configurations(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cross_modal(**changes)


def test_activations_can_be_recomputed() -> None:
    check_checkpointing(
        lambda again: cross_modal(
            checkpoint_activations=again,
            hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.1,
        ),
        batch(),
    )


def test_bfloat16_autocast() -> None:
    fusion = cross_modal()
    inputs = batch()
    exact = fusion(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = fusion(*inputs)
    torch.testing.assert_close(pooled.float(), exact, atol=0.15, rtol=0.1)
    pooled.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in fusion.parameters() if p.requires_grad)
