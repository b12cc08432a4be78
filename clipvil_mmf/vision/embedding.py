"""Grid features -> visual tokens of the fusion's width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from clipvil_mmf.config import check_at_least
from clipvil_mmf.layers.dropout import Dropout
from clipvil_mmf.layers.published import BERT, Names
from clipvil_mmf.layers.tokens import Visual
from clipvil_mmf.layers.transformer import LAYER_NORM_EPS, init_bert_weights
from clipvil_mmf.vision.positions import GridPositionEmbedding


@dataclass
class VisualEmbeddingConfig:
    """The `visual_embedding` section (optional)."""

    # Entries of the row and the column table: the largest grid height and width in cells.
    pos_num: int = 25

    def __post_init__(self) -> None:
        check_at_least("pos_num", self.pos_num, 1)


class VisualEmbedding(nn.Module):
    """Position embedding, projection, LayerNorm and dropout, in CLIP-ViL's order.

    Positions are added at the tower's width C, before the projection to the fusion's D. There is no
    box and no type embedding.
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
        self.positions = GridPositionEmbedding(channels, config.pos_num)
        self.projection = nn.Linear(channels, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)
        init_bert_weights(self, initializer_range)

    def forward(self, grid: Tensor) -> Visual:
        """(B_img, C, h, w) -> visual tokens (B_img, h*w, D), the grid row by row."""
        tokens = self.positions(grid).flatten(2).transpose(1, 2)
        return Visual(self.dropout(self.norm(self.projection(tokens))))
