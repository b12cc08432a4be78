"""Grid features -> visual tokens of the fusion's width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.config import check_at_least
from clipvil_mmf.layers.dropout import Dropout
from clipvil_mmf.layers.published import BERT, Names
from clipvil_mmf.layers.tokens import Visual
from clipvil_mmf.layers.transformer import LAYER_NORM_EPS, init_bert_weights
from clipvil_mmf.vision.positions import GridPositionEmbedding


@dataclass
class VisualEmbeddingConfig:
    """The `visual_embedding` section (optional)."""

    # Entries of the row and the column table: the largest grid height and width in cells; null for
    # no position embedding.
    pos_num: int | None = 25
    # Take the maximum of each 2x2 cells, before positions are added; a last odd row or column is
    # left out.
    max_pooling: bool = False
    # Cells of the grid that each image keeps in training, drawn anew for each batch (100 in
    # CLIP-ViL's pre-training); null for all. Evaluation and prediction have all of them.
    sampled_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.pos_num is not None:
            check_at_least("pos_num", self.pos_num, 1)
        if self.sampled_tokens is not None:
            check_at_least("sampled_tokens", self.sampled_tokens, 1)


class VisualEmbedding(nn.Module):
    """Pooling if wanted, position embedding, projection, LayerNorm, dropout: in CLIP-ViL's order.

    Positions are added at the tower's width C, before the projection to the fusion's D. There is no
    box and no type embedding. In training, ``sampled_tokens`` of an image's cells are projected,
    those of the padding among them.

    Attributes:
        gives_features: whether the tokens come with what they are projected from.
    """

    published_names: ClassVar[Names] = {
        "positions.rows.": f"{BERT}encoder.visual_pos.x_position_embedding.",
        "positions.columns.": f"{BERT}encoder.visual_pos.y_position_embedding.",
        "projection.": f"{BERT}encoder.visn_fc.visn_fc.",
        "norm.": f"{BERT}encoder.visn_fc.visn_layer_norm.",
    }
    published_unused: ClassVar[Names] = {
        f"{BERT}encoder.visn_fc.box_fc.": "boxes: a grid has none",
        f"{BERT}encoder.visn_fc.box_layer_norm.": "boxes: a grid has none",
    }

    def __init__(
        self,
        config: VisualEmbeddingConfig,
        channels: int,
        hidden_size: int,
        dropout: float = 0.1,
        initializer_range: float = 0.02,
    ) -> None:
        super().__init__()
        self.gives_features = False
        self.sampled_tokens = config.sampled_tokens
        self.max_pooling = config.max_pooling
        self.positions: nn.Module = nn.Identity()
        if config.pos_num is not None:
            self.positions = GridPositionEmbedding(channels, config.pos_num)
        self.projection = nn.Linear(channels, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)
        init_bert_weights(self, initializer_range)

    def forward(self, grid: Tensor, mask: Tensor | None = None) -> Visual:
        """(B_img, C, h, w) -> visual tokens (B_img, N, D): the grid row by row, or a sample of it.

        Args:
            grid: the features.
            mask: (B_img, h*w), 0 for padding; None where there is none.

        Raises:
            ValueError: the grid has fewer cells than `sampled_tokens`, more rows or columns than
                there are positions, or is too small to be pooled.
        """
        if self.max_pooling:
            grid = pool(grid)
        tokens = self.positions(grid).flatten(2).transpose(1, 2)
        tokens, mask = self.sampled(tokens, mask)
        visual = Visual(self.dropout(self.norm(self.projection(tokens))), mask)
        return visual._replace(features=tokens) if self.gives_features else visual

    def sampled(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Of (B_img, N, C) tokens and their mask those that are kept: all but in training."""
        if not self.training or self.sampled_tokens is None:
            return tokens, mask
        kept = self.draw_cells(*tokens.shape[:2], tokens.device)
        tokens = tokens.gather(1, kept.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))
        return tokens, None if mask is None else mask.gather(1, kept)

    def draw_cells(self, images: int, cells: int, device: torch.device) -> Tensor:
        """(images, sampled_tokens) int64: other cells for each image, none of them twice.

        They come from torch's generator of the device, which is another one on each rank.
        """
        if cells < self.sampled_tokens:
            raise ValueError(
                f"visual_embedding.sampled_tokens is {self.sampled_tokens}, but the grid has "
                f"{cells} cells: lower it, or set it to null."
            )
        order = torch.rand(images, cells, device=device).argsort(dim=1)
        return order[:, : self.sampled_tokens]


def pool(grid: Tensor) -> Tensor:
    """(B_img, C, h, w) -> (B_img, C, h // 2, w // 2), the maximum of each 2x2 cells.

    Raises:
        ValueError: h or w is 1.
    """
    if min(grid.shape[-2:]) < 2:
        raise ValueError(
            f"visual_embedding.max_pooling takes 2x2 cells together, but the grid has "
            f"{grid.shape[-2]}x{grid.shape[-1]}: use larger images, or set it to false."
        )
    return F.max_pool2d(grid, 2)
