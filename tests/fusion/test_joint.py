"""The joint encoder: order of tokens, masking, states on request, gradients, precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion import JointConfig, JointFusion, Text, Visual, build_fusion
from tests.fusion.checkpointing import check_checkpointing

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 50,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.2,
}


def joint(**changes: Any) -> JointFusion:
    return build_fusion({"type": "joint", "params": {**TINY, **changes}})


def batch(length: int = 7, padding: int = 2) -> tuple[Text, Visual]:
    ids = torch.randint(1, 50, (3, length))
    mask = torch.ones_like(ids)
    if padding:
        ids[0, -padding:] = 0
        mask[0, -padding:] = 0
    return Text(ids, mask, torch.zeros_like(ids)), Visual(torch.randn(3, 6, 32))


def test_short_cut_equals_all_states() -> None:
    """The last layer is computed for token 0 alone: same output, same gradients."""
    fusion = joint().double()
    text, visual = batch()
    inputs = (text, Visual(visual.tokens.double()))
    pooled = fusion(*inputs)
    pooled.square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in fusion.named_parameters()}
    fusion.zero_grad()
    *_, last = fusion.hidden_states(*inputs)
    full = fusion.pool(last)
    full.square().sum().backward()
    torch.testing.assert_close(pooled, full)
    for name, parameter in fusion.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-5, rtol=1e-4)


def test_hidden_states_appear_one_by_one() -> None:
    fusion = joint()
    inputs = batch()
    ran = []
    for number, layer in enumerate(fusion.layers):
        layer.register_forward_hook(lambda m, a, o, number=number: ran.append(number))
    states = fusion.hidden_states(*inputs)
    first = next(states)
    assert first.shape == (3, 7 + 6, 32) and ran == []
    torch.testing.assert_close(first[:, 7:], inputs[1].tokens)  # text first, then the grid
    next(states)
    assert ran == [0]
    assert len(list(states)) == 2 and ran == [0, 1, 2]


def test_length_of_padding_does_not_matter() -> None:
    fusion = joint().eval()
    text, visual = batch(length=5, padding=0)
    grown = Text(*(torch.nn.functional.pad(field, (0, 8)) for field in text))
    torch.testing.assert_close(fusion(text, visual), fusion(grown, visual))


def test_masked_visual_tokens_have_no_influence() -> None:
    fusion = joint().eval()
    text, tokens = batch()[0], torch.randn(3, 8, 32)
    masked = fusion(text, Visual(tokens, torch.tensor([[1] * 6 + [0] * 2] * 3)))
    torch.testing.assert_close(masked, fusion(text, Visual(tokens[:, :6])))
    assert not torch.allclose(masked, fusion(text, Visual(tokens)))


def test_language_states_are_the_text_of_the_last_state() -> None:
    fusion = joint()
    inputs = batch()
    *_, last = fusion.hidden_states(*inputs)
    states = fusion.language_states(*inputs)
    torch.testing.assert_close(states, last[:, :7])
    torch.testing.assert_close(fusion.pool(states), fusion(*inputs))


def test_activations_can_be_recomputed() -> None:
    check_checkpointing(
        lambda again: joint(
            checkpoint_activations=again,
            hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.1,
        ),
        batch(),
    )


def test_pooler_is_linear() -> None:
    """No tanh, unlike BERT's and LXMERT's."""
    fusion = joint()
    hidden = torch.randn(2, 4, 32) * 10
    torch.testing.assert_close(fusion.pool(hidden), fusion.pooler(hidden[:, 0]))
    assert fusion.pool(hidden).abs().max() > 1


def test_padding_rows_get_no_gradient() -> None:
    fusion = joint()
    fusion(*batch()).square().sum().backward()
    tables = fusion.embeddings
    for table in (tables.word, tables.position, tables.segment):
        assert table.weight.grad[0].abs().sum() == 0
        assert table.weight[0].abs().sum() > 0
    assert tables.position.weight.grad[1].abs().sum() > 0
    assert tables.word.weight.grad.abs().sum() > 0


def test_question_longer_than_the_positions() -> None:
    with pytest.raises(ValueError, match=r"17 word pieces, .*max_position_embeddings is 16"):
        joint()(*batch(length=17))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, r"fusion\.params\.num_attention_heads: 5 does not divide"),
        ({"num_hidden_layers": 0}, r"params\.num_hidden_layers: got 0, expected at least 1"),
        ({"hidden_dropout_prob": 1.5}, r"params\.hidden_dropout_prob: got 1\.5"),
        ({"hiden_size": 3}, r"params\.hiden_size: unknown key\. Did you mean 'hidden_size'"),
    ],
)
def test_bad_configurations(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        joint(**changes)


def test_unknown_fusion() -> None:
    with pytest.raises(ConfigError, match=r"fusion\.type: unknown value 'joined'.*Choices: joint"):
        build_fusion({"type": "joined"})


def test_defaults_are_bert_base() -> None:
    config = JointConfig()
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (
        768,
        12,
        12,
    )
    assert (config.intermediate_size, config.vocab_size) == (3072, 30522)


def test_bfloat16_autocast() -> None:
    fusion = joint()
    inputs = batch()
    exact = fusion(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = fusion(*inputs)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.float(), exact, atol=0.15, rtol=0.1)
    pooled.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in fusion.parameters())
