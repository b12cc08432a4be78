"""Grid positions and the projection to visual tokens."""

from __future__ import annotations

import pytest
import torch

from clipvil_mmf.vision import (
    Grid,
    GridEmbedding,
    GridPositionEmbedding,
    VisualEmbedding,
    VisualEmbeddingConfig,
)
from clipvil_mmf.vision.positions import resample_positions


def test_rows_and_columns() -> None:
    module = GridPositionEmbedding(channels=6, pos_num=5)
    grid = torch.randn(2, 6, 3, 4)
    added = module(grid) - grid
    for row in range(3):
        for column in range(4):
            expected = module.rows.weight[row] + module.columns.weight[column]
            torch.testing.assert_close(added[0, :, row, column], expected)


def test_addition_is_out_of_place() -> None:
    """The published in-place addition breaks the backward pass of a ResNet's last ReLU."""
    module = GridPositionEmbedding(channels=4)
    source = torch.randn(1, 4, 2, 2, requires_grad=True)
    module(torch.relu(source)).sum().backward()
    assert torch.equal(source.grad, (source > 0).float())
    assert module.rows.weight.grad[2:].abs().sum() == 0


@pytest.mark.parametrize("size", [(26, 3), (3, 26)])
def test_grid_larger_than_the_tables(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"pos_num is 25: .* set visual_embedding.pos_num to 26"):
        GridPositionEmbedding(channels=2)(torch.zeros(1, 2, *size))


def test_resampling_keeps_the_class_token_and_constants() -> None:
    table = torch.cat([torch.full((1, 8), 7.0), torch.full((16, 8), 2.0)])
    assert resample_positions(table, (4, 4), (4, 4)) is table
    resampled = resample_positions(table, (4, 4), (2, 9))
    assert resampled.shape == (1 + 18, 8)
    torch.testing.assert_close(resampled[0], table[0])
    torch.testing.assert_close(resampled[1:], torch.full((18, 8), 2.0))


def test_visual_embedding_order() -> None:
    """Positions before the projection, LayerNorm after it, tokens row by row."""
    module = VisualEmbedding(VisualEmbeddingConfig(pos_num=7), 6, 10, dropout=0.0)
    grid = torch.randn(2, 6, 2, 3)
    tokens = module(grid).tokens
    assert tokens.shape == (2, 6, 10)
    cell = grid[1, :, 1, 2] + module.positions.rows.weight[1] + module.positions.columns.weight[2]
    torch.testing.assert_close(tokens[1, 5], module.norm(module.projection(cell)))
    assert module.norm.eps == 1e-12


def test_without_positions() -> None:
    """--use_positional_embedding, left out."""
    module = VisualEmbedding(VisualEmbeddingConfig(pos_num=None), 6, 10, dropout=0.0)
    grid = torch.randn(2, 6, 2, 30)
    cells = grid.flatten(2).transpose(1, 2)
    torch.testing.assert_close(module(grid).tokens, module.norm(module.projection(cells)))
    assert not any("positions" in name for name in module.state_dict())


def test_the_maximum_of_each_four_cells() -> None:
    """--use_max_pooling: before the positions, and without the odd column."""
    config = VisualEmbeddingConfig(pos_num=2, max_pooling=True)
    module = VisualEmbedding(config, 6, 10, dropout=0.0)
    grid = torch.randn(2, 6, 2, 5)
    tokens = module(grid).tokens
    assert tokens.shape == (2, 2, 10)
    cell = grid[1, :, :, 2:4].amax((1, 2))
    cell = cell + module.positions.rows.weight[0] + module.positions.columns.weight[1]
    torch.testing.assert_close(tokens[1, 1], module.norm(module.projection(cell)))
    with pytest.raises(ValueError, match=r"max_pooling takes 2x2 cells .* grid has 1x5"):
        module(grid[:, :, :1])


def test_a_padded_grid_is_pooled_as_it_is_without_padding() -> None:
    config = VisualEmbeddingConfig(pos_num=4, max_pooling=True)
    module = GridEmbedding(config, 6, 10, dropout=0.0)
    grid, mask = torch.randn(1, 6, 4, 6), torch.zeros(1, 4, 6)
    mask[:, :3, :5] = 1
    padded = module(Grid(grid, mask))
    alone = module(Grid(grid[:, :, :3, :5]))
    assert padded.mask.tolist() == [[1, 1, 0, 0, 0, 0]]
    torch.testing.assert_close(padded.tokens[padded.mask == 1], alone.tokens[0])


def test_visual_embedding_drops_out_in_training_only() -> None:
    module = VisualEmbedding(VisualEmbeddingConfig(), 6, 64, dropout=0.5)
    grid = torch.randn(1, 6, 4, 4)
    assert 0.3 < (module(grid).tokens == 0).float().mean() < 0.7
    assert (module.eval()(grid).tokens == 0).float().mean() == 0


def test_a_sample_of_the_cells_is_projected_in_training() -> None:
    config = VisualEmbeddingConfig(pos_num=5, sampled_tokens=7)
    module = VisualEmbedding(config, channels=6, hidden_size=8, dropout=0.0)
    grid = torch.randn(3, 6, 3, 4)
    cells = [module.eval()(grid).tokens[image] for image in range(3)]
    assert cells[0].shape == (12, 8)
    torch.manual_seed(1)
    sampled = module.train()(grid).tokens
    torch.manual_seed(1)
    assert torch.equal(module(grid).tokens, sampled)
    drawn = []
    for image, tokens in enumerate(sampled):
        distances = torch.cdist(tokens, cells[image])
        torch.testing.assert_close(distances.min(1).values, torch.zeros(7), atol=1e-3, rtol=0)
        drawn.append(distances.argmin(1).tolist())
    assert all(len(set(of_image)) == 7 for of_image in drawn)  # none twice
    assert drawn[0] != drawn[1] != drawn[2]  # other ones for each image
    assert module.draw_cells(200, 12, grid.device).unique().tolist() == list(range(12))


def test_more_cells_than_the_grid_has() -> None:
    config = VisualEmbeddingConfig(pos_num=5, sampled_tokens=13)
    module = VisualEmbedding(config, channels=6, hidden_size=8)
    with pytest.raises(ValueError, match=r"sampled_tokens is 13, but the grid has 12 cells"):
        module(torch.randn(1, 6, 3, 4))
