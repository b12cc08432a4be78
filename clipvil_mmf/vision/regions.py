"""Region features with their boxes, as LXMERT reads them, in the place of an image tower."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from clipvil_mmf.config import check_at_least
from clipvil_mmf.layers.dropout import Dropout
from clipvil_mmf.layers.published import BERT, Names
from clipvil_mmf.layers.tokens import Visual
from clipvil_mmf.layers.transformer import LAYER_NORM_EPS, init_bert_weights
from clipvil_mmf.vision.encoder import ImageEncoder


class Regions(NamedTuple):
    """What a detector found in each image of a batch."""

    # (B_img, R, C) float, one vector a region.
    features: Tensor
    # (B_img, R, 4) float: left, top, right, bottom as fractions of the image's width and height.
    boxes: Tensor
    # (B_img, R), 1 for regions, 0 for padding; None when every image has R of them.
    mask: Tensor | None = None


@dataclass
class RegionFeaturesConfig:
    """`params` of the image encoder `region_features`."""

    # C, the width of a region's feature vector; 2048 for Faster R-CNN on ResNet-101.
    feature_size: int = 2048
    # Numbers that describe a box.
    box_size: int = 4
    # Visual tokens have their boxes in them; false: features alone.
    boxes: bool = True

    def __post_init__(self) -> None:
        check_at_least("feature_size", self.feature_size, 1)
        check_at_least("box_size", self.box_size, 1)


class RegionFeatures(ImageEncoder):
    """The image encoder of regions that a detector has encoded already: checks their sizes."""

    batch_fields = ("region_features", "region_boxes", "region_mask")

    def __init__(self, config: RegionFeaturesConfig) -> None:
        super().__init__()
        self.out_channels = config.feature_size
        self.box_size = config.box_size
        self.boxes = config.boxes

    def inputs_of(self, batch: Mapping[str, Any], rows: Tensor | None = None) -> Regions:
        """See :meth:`ImageEncoder.inputs_of`."""
        fields = [batch[name] for name in self.batch_fields]
        return Regions(*(fields if rows is None else [field[rows] for field in fields]))

    def forward(self, regions: Regions) -> Regions:
        """Give the regions back.

        Raises:
            ValueError: features, boxes or mask have other shapes than the configuration says.
        """
        batch = tuple(regions.features.shape[:2])
        for name, last, key in (
            ("features", self.out_channels, "feature_size"),
            ("boxes", self.box_size, "box_size"),
        ):
            shape = tuple(getattr(regions, name).shape)
            if shape != (*batch, last):
                raise ValueError(
                    f"The regions' {name} have shape {shape}, expected (images, regions, {last}): "
                    f"correct the files or image_encoder.params.{key}."
                )
        if regions.mask is not None and tuple(regions.mask.shape) != batch:
            raise ValueError(
                f"The regions' mask has shape {tuple(regions.mask.shape)}, expected {batch}."
            )
        return regions


class RegionEmbedding(nn.Module):
    """Features and boxes, each projected and normalised, averaged (LXMERT, arXiv 1908.07490).

    Or features alone, with a ``box_size`` of None.
    """

    published_names: ClassVar[Names] = {
        "projection.": f"{BERT}encoder.visn_fc.visn_fc.",
        "norm.": f"{BERT}encoder.visn_fc.visn_layer_norm.",
        "box_projection.": f"{BERT}encoder.visn_fc.box_fc.",
        "box_norm.": f"{BERT}encoder.visn_fc.box_layer_norm.",
    }
    published_unused: ClassVar[Names] = {}

    def __init__(
        self,
        feature_size: int,
        box_size: int | None,
        hidden_size: int,
        dropout: float = 0.1,
        initializer_range: float = 0.02,
    ) -> None:
        super().__init__()
        self.projection = nn.Linear(feature_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.has_boxes = box_size is not None
        if self.has_boxes:
            self.box_projection = nn.Linear(box_size, hidden_size)
            self.box_norm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)
        init_bert_weights(self, initializer_range)

    def forward(self, regions: Regions) -> Visual:
        """Regions -> visual tokens (B_img, R, D), with the regions' mask."""
        tokens = self.norm(self.projection(regions.features))
        if self.has_boxes:
            tokens = (tokens + self.box_norm(self.box_projection(regions.boxes))) / 2
        return Visual(self.dropout(tokens), regions.mask)
