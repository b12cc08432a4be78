"""Grid features read from files, in the place of the tower that made them."""

from __future__ import annotations

import pytest
import torch

from clipvil_mmf.config import ConfigError
from clipvil_mmf.extraction.towers import ProjectedTower
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.vision import Grid

TOWER = {
    "type": "clip_grid",
    "params": {
        "tower": {"layers": [1, 1, 1, 1], "width": 4},
        "frozen": True,
        "batch_norm": "eval",
    },
}
FILES = {"type": "grid_features", "params": {"feature_size": 128}}


def network(
    image_encoder: dict, method: str = "unipt", params: dict | None = None, **visual: int
) -> ClipVilNetwork:
    torch.manual_seed(0)
    return ClipVilNetwork.from_config(
        image_encoder=image_encoder,
        visual_embedding=visual,
        fusion={
            "type": "joint",
            "params": {
                **{"vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2},
                **{"num_attention_heads": 2, "intermediate_size": 32},
            },
        },
        classifier={"type": "mlp", "params": {}},
        num_labels=5,
        tuning={"method": method, "params": params or {}},
    )


@pytest.fixture
def both() -> tuple[ClipVilNetwork, ClipVilNetwork]:
    """A network with a tower, and one of the same other weights without."""
    tower, files = network(TOWER), network(FILES)
    weights = tower.state_dict()
    files.load_state_dict({name: weights[name] for name in files.state_dict()})
    return tower.eval(), files.eval()


def questions(count: int = 3) -> tuple[torch.Tensor, ...]:
    ids = torch.randint(1, 30, (count, 6))
    return torch.tensor([0, 1, 0])[:count], ids, torch.ones_like(ids), torch.zeros_like(ids)


def test_scores_and_gradients_are_those_beside_the_tower(both) -> None:
    tower, files = both
    images = torch.randn(2, 3, 64, 96)
    asked = questions()
    grid = Grid(tower.image_encoder(images).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2))
    expected, found = tower(images, *asked).scores, files(grid, *asked).scores
    torch.testing.assert_close(found, expected)
    for scores in (expected, found):
        scores.sum().backward()
    trained = {n: p.grad for n, p in tower.named_parameters() if p.requires_grad}
    assert trained.keys() == {n for n, p in files.named_parameters() if p.requires_grad}
    for name, parameter in files.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, trained[name])


def test_fp16_features_come_near(both) -> None:
    tower, files = both
    images = torch.randn(2, 3, 64, 96)
    asked = questions()
    grid = Grid(tower.image_encoder(images).half())
    torch.testing.assert_close(
        files(grid, *asked).scores, tower(images, *asked).scores, rtol=1e-2, atol=1e-2
    )


def test_padding_is_masked(both) -> None:
    """What stands in cells that are padding does not matter; nor does padding to a larger grid."""
    _, files = both
    features = torch.randn(2, 128, 2, 3)
    asked = questions()
    expected = files(Grid(features), *asked).scores
    padded = torch.randn(2, 128, 3, 5)
    padded[:, :, :2, :3] = features
    mask = torch.zeros(2, 3, 5, dtype=torch.long)
    mask[:, :2, :3] = 1
    torch.testing.assert_close(files(Grid(padded, mask), *asked).scores, expected)


def test_features_of_another_width(both) -> None:
    with pytest.raises(ValueError, match=r"\(2, 64, 2, 3\), expected \(images, 128, height, width"):
        both[1](Grid(torch.zeros(2, 64, 2, 3)), *questions())
    with pytest.raises(ConfigError, match=r"params\.feature_size: got 0"):
        network({"type": "grid_features", "params": {"feature_size": 0}})


PROJECTED = {"type": "grid_features", "params": {"feature_size": 128, "projected": True}}


def test_projected_features_are_visual_tokens(both) -> None:
    """The scores and the gradients of a network that projects them itself."""
    tower, _ = both
    projected = network(PROJECTED).eval()
    weights = tower.state_dict()
    projected.load_state_dict({name: weights[name] for name in projected.state_dict()})
    images, asked = torch.randn(2, 3, 64, 96), questions()
    tokens = tower.encode_visual(images).tokens
    grid = Grid(tokens.transpose(1, 2).unflatten(2, (2, 3)))
    expected, found = tower(images, *asked).scores, projected(grid, *asked).scores
    torch.testing.assert_close(found, expected)
    for scores in (expected, found):
        scores.sum().backward()
    trained = {n: p.grad for n, p in tower.named_parameters() if p.requires_grad}
    for name, gradient in trained.items():
        torch.testing.assert_close(projected.get_parameter(name).grad, gradient)
    with pytest.raises(ValueError, match="have 128 numbers a cell, but the fusion is 32 wide"):
        projected(Grid(torch.zeros(2, 128, 2, 3)), *asked)


@pytest.mark.parametrize("method", ["full", "bitfit", "lora", "adapter"])
def test_a_projection_that_is_trained_is_not_in_files(method: str) -> None:
    message = rf"tuning\.method: {method} trains the visual embedding, which projected features"
    with pytest.raises(ConfigError, match=message):
        network(PROJECTED, method)


def test_a_ladders_own_projection_needs_the_features() -> None:
    with pytest.raises(ConfigError, match=r"visual_projection: .* extract them with --content raw"):
        network(PROJECTED, "ladder", {"visual_projection": True})


def test_tokens_of_a_pooled_grid() -> None:
    whole = network(TOWER, max_pooling=True).eval()
    tower = ProjectedTower(whole.image_encoder, whole.visual_embedding)
    images = torch.randn(2, 3, 128, 192)
    tokens = whole.visual_embedding(whole.image_encoder(images)).tokens
    assert torch.equal(tower(images), tokens.transpose(1, 2).unflatten(2, (2, 3)))


@pytest.mark.parametrize("image_encoder", [FILES, PROJECTED])
def test_a_sample_of_cells_keeps_their_mask(image_encoder: dict) -> None:
    embedding = network(image_encoder, sampled_tokens=4).visual_embedding.train()
    mask = torch.tensor([[[1, 1, 1], [1, 1, 1], [0, 0, 0]]])
    width = 32 if embedding.is_projected else 128
    tokens, found, *_ = embedding(Grid(torch.randn(1, width, 3, 3), mask))
    assert tokens.shape == (1, 4, 32) and found.shape == (1, 4)
    assert 1 <= found.sum() <= 4


def test_there_is_no_tower(both) -> None:
    names = both[1].state_dict()
    assert not [name for name in names if name.startswith("image_encoder.")]
    assert names.keys() < both[0].state_dict().keys()
