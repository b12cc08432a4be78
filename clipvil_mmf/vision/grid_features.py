"""Grid features of files, in the place of the tower that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from clipvil_mmf.config import check_at_least
from clipvil_mmf.layers.tokens import Visual
from clipvil_mmf.vision.embedding import VisualEmbedding, pool
from clipvil_mmf.vision.encoder import ImageEncoder


class Grid(NamedTuple):
    """The grid features of a batch's images."""

    # (B_img, C, h, w) float16 or float32.
    features: Tensor
    # (B_img, h, w), 1 for cells, 0 for padding; None when all are cells.
    mask: Tensor | None = None


@dataclass
class GridFeaturesConfig:
    """`params` of the image encoder `grid_features`."""

    # C, the width of the tower's features: 2048 of RN50 and RN101, 2560 of RN50x4, 768 of ViT-B-32.
    feature_size: int = 2560
    # Whether the files have visual tokens of the fusion's width D, as `clipvil features --content
    # projected` writes them. The visual embedding has to be frozen, and that of their --model.
    projected: bool = False
    # Side of a cell in pixels; only `clipvil profile` asks, for the size of its grid.
    stride: int = 32

    def __post_init__(self) -> None:
        check_at_least("feature_size", self.feature_size, 1)
        check_at_least("stride", self.stride, 1)


class GridFeatures(ImageEncoder):
    """The image encoder of images that `clipvil features` has encoded already."""

    def __init__(self, config: GridFeaturesConfig) -> None:
        super().__init__()
        self.out_channels, self.stride = config.feature_size, config.stride
        self.gives_tokens = config.projected
        self.batch_fields = ("projected_features" if config.projected else "grid_features",)

    @property
    def has_moving_statistics(self) -> bool:
        return False

    def inputs_of(self, batch: Mapping[str, Any], rows: Tensor | None = None) -> Grid:
        """See :meth:`ImageEncoder.inputs_of`."""
        (field,) = self.batch_fields
        features, mask = batch[field], batch.get("grid_mask")
        if rows is None:
            return Grid(features, mask)
        return Grid(features[rows], None if mask is None else mask[rows])

    def forward(self, grid: Grid) -> Grid:
        """Give the grid in float32; a ``ValueError`` says that it has another width."""
        is_grid = grid.features.ndim == 4
        if not is_grid or not (self.gives_tokens or grid.features.shape[1] == self.out_channels):
            raise ValueError(
                f"The grid features have shape {tuple(grid.features.shape)}, expected (images, "
                f"{self.out_channels}, height, width): correct the files or "
                "image_encoder.params.feature_size."
            )
        return Grid(grid.features.float(), grid.mask)


class GridEmbedding(VisualEmbedding):
    """The embedding of a tower's grid, where some cells may be padding.

    With `is_projected` the grid is one of visual tokens: it has been through such an embedding, but
    for the dropout.
    """

    is_projected: bool = False

    def forward(self, grid: Grid) -> Visual:
        """Grid -> visual tokens (B_img, N, D), with the grid's mask.

        Raises:
            ValueError: projected features have another width than the fusion.
        """
        mask = grid.mask
        if mask is not None and self.max_pooling and not self.is_projected:
            # Cells are pooled where all four are some.
            mask = 1 - pool(1 - mask[:, None].float())[:, 0]
        mask = None if mask is None else mask.flatten(1)
        if not self.is_projected:
            return super().forward(grid.features, mask)
        width = self.projection.out_features
        if grid.features.shape[1] != width:
            raise ValueError(
                f"The projected features have {grid.features.shape[1]} numbers a cell, but the "
                f"fusion is {width} wide: extract them with the model that this run starts from."
            )
        tokens, mask = self.sampled(grid.features.flatten(2).transpose(1, 2), mask)
        return Visual(self.dropout(tokens), mask)
