"""Text in the blocks of a CLIP ViT: what is computed, what is trainable, what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from clipvil_mmf.config import ConfigError
from clipvil_mmf.network import ClipVilNetwork
from tests.golden.compare import TINY, TINY_WIDTHS
from tests.tuning.test_methods import batch

VIT = {"layers": 2, "width": 64, "patch_size": 32, "head_width": 16}


def build(encoder: str = "clip_patches", tower: Any = VIT, **sections: Any) -> ClipVilNetwork:
    torch.manual_seed(0)
    given = {
        "image_encoder": {"type": encoder, "params": {"tower": tower}},
        "fusion": {"type": "vilt", "params": TINY_WIDTHS},
    }
    return ClipVilNetwork.from_config(**{**copy.deepcopy(TINY), **given, **sections})


def by_hand(network: ClipVilNetwork, tokens: Tensor, rounds: int) -> Tensor:
    """The pooled output (D,) of one sample's tokens (S, D), without padding."""
    tower, hidden = network.image_encoder.tower, tokens
    for block in [*tower.transformer.resblocks] * rounds:
        attention, length = block.attn, len(hidden)
        projected = block.ln_1(hidden) @ attention.in_proj_weight.T + attention.in_proj_bias
        query, key, value = projected.view(length, 3, attention.num_heads, -1).unbind(1)
        scores = torch.einsum("qhd,khd->hqk", query, key) / query.shape[-1] ** 0.5
        read = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).flatten(1)
        hidden = hidden + attention.out_proj(read)
        hidden = hidden + block.mlp(block.ln_2(hidden))
    return network.fusion.pooler(tower.ln_post(hidden)[0])


@pytest.mark.parametrize("rounds", [1, 2])
def test_text_and_patches_go_through_the_towers_blocks(rounds: int) -> None:
    params = {**TINY_WIDTHS, "rounds": rounds}
    network, inputs = build(fusion={"type": "vilt", "params": params}).eval(), batch()
    visual = network.encode_visual(inputs["images"]).tokens
    assert visual.shape == (2, 1 + 2 * 3, 64)  # the class token, and patches of 64x96 pixels
    pooled = network(**inputs).pooled
    for row, image in enumerate(inputs["image_index"]):
        length = int(inputs["input_mask"][row].sum())
        ids = inputs["input_ids"][row : row + 1, :length]
        words = network.fusion.embeddings(ids, torch.zeros_like(ids))[0]
        expected = by_hand(network, torch.cat([words, visual[image]]), rounds)
        torch.testing.assert_close(pooled[row], expected, atol=1e-5, rtol=1e-4)


def test_patches_are_those_that_the_grid_is_made_of() -> None:
    """Through the blocks alone, without text, they are the grid of clip_grid."""
    grid = build("clip_grid", fusion=TINY["fusion"]).image_encoder.eval()
    patches = build().image_encoder.eval()
    patches.load_state_dict(grid.state_dict())
    images = batch()["images"]
    tokens = patches(images)
    for block in patches.blocks:
        tokens = block(tokens)
    tokens = patches.last_norm(tokens)[:, 1:]
    expected = grid(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("recompute", [False, True])
def test_everything_is_trainable_and_counted_once(recompute: bool) -> None:
    params = {**TINY_WIDTHS, "checkpoint_activations": recompute}
    network = build(fusion={"type": "vilt", "params": params}).train()
    network(**batch()).scores.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    blocks = [name for name in network.state_dict() if "resblocks" in name]
    assert blocks and all(name.startswith("image_encoder.tower.") for name in blocks)
    copied = copy.deepcopy(network).eval()
    with torch.no_grad():  # a copy runs its own blocks
        for parameter in network.parameters():
            parameter.zero_()
    assert copied(**batch()).scores.abs().sum() > 0


@pytest.mark.parametrize("method", ["frozen", "bitfit"])
def test_tuning(method: str) -> None:
    network = build(tuning={"method": method}).train()
    network(**batch()).scores.square().sum().backward()
    tower = network.image_encoder.parameters()
    assert all(parameter.grad is None for parameter in tower)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "clip_grid"}, r"fusion\.type: vilt .*image_encoder\.type to clip_patches"),
        ({"tower": {**VIT, "width": 32}}, r"fusion\.params\.hidden_size: 64, .* are 32 wide"),
        ({"tower": {"layers": [1, 1, 1, 1], "width": 8}}, r"name: clip_patches takes a ViT"),
        ({"visual_embedding": {"pos_num": 5}}, r"visual_embedding\.pos_num: the patches have"),
        ({"tuning": {"method": "lora"}}, r"tuning\.method: lora adapts .* fusion has none"),
        ({"tuning": {"method": "unipt"}}, r"tuning\.method: unipt reads the hidden states"),
        (
            {"fusion": {"type": "vilt", "params": {**TINY_WIDTHS, "rounds": 0}}},
            r"fusion\.params\.rounds: got 0",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**changes)
