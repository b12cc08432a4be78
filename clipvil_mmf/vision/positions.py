"""Positions of grid cells: CLIP-ViL's two learned tables, and a ViT's table at any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GridPositionEmbedding(nn.Module):
    """Adds a learned row vector and a learned column vector to every cell of a grid.

    This is the position embedding of CLIP-ViL (arXiv 2107.06383), which acts on the tower's
    features before they are projected. The published tables are called `x` and `y`, and `x`
    indexes rows; here they are named for what they index. Each has `pos_num` entries: the largest
    grid height and width.
    """

    def __init__(self, channels: int, pos_num: int = 25) -> None:
        super().__init__()
        self.pos_num = pos_num
        self.rows = nn.Embedding(pos_num, channels)
        self.columns = nn.Embedding(pos_num, channels)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w), out of place: a ResNet's last ReLU needs its output.

        Raises:
            ValueError: h or w exceeds `pos_num`.
        """
        height, width = grid.shape[-2:]
        if max(height, width) > self.pos_num:
            raise ValueError(
                f"The grid is {height}x{width} cells, but visual_embedding.pos_num is "
                f"{self.pos_num}: use smaller images, a tower with a larger stride, or set "
                f"visual_embedding.pos_num to {max(height, width)}."
            )
        rows = self.rows.weight[:height].T.unsqueeze(-1)  # (C, h, 1)
        columns = self.columns.weight[:width].T.unsqueeze(-2)  # (C, 1, w)
        return grid + (rows + columns)


def extend_positions(table: Tensor, own: Tensor) -> Tensor:
    """A longer table of row or column vectors that begins with a shorter one.

    The entries behind it keep their initialisation. In published checkpoints those behind the
    longest side that was trained on (20 cells of 384x640) have not moved from theirs either.

    Args:
        table: (n, C), of a checkpoint.
        own: (m, C), of the network; m is at least n.
    """
    return torch.cat([table.to(own), own[len(table) :]])


def resample_positions(
    table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], prefix: int = 1
) -> Tensor:
    """Interpolate a ViT's position table to another grid (bicubic, antialiased, as open_clip does).

    Args:
        table: (prefix + h*w, C): the class token's position, then the grid row by row.
        grid: (h, w) of `table`, which is given back itself where that is wanted.
        new_grid: (h', w') wanted.
        prefix: leading entries that belong to no cell and are kept.
    """
    if grid == new_grid:
        return table
    cells = table[prefix:].reshape(1, *grid, -1).permute(0, 3, 1, 2)
    cells = F.interpolate(cells, size=new_grid, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([table[:prefix], cells.flatten(2).squeeze(0).T])
