"""CLIP-ViL as one torch module: image encoder, visual embedding, fusion, answer head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from clipvil_mmf.config import from_config
from clipvil_mmf.fusion import build_fusion
from clipvil_mmf.heads import build_head
from clipvil_mmf.vision import VisualEmbedding, VisualEmbeddingConfig, build_image_encoder


class ClipVilOutput(NamedTuple):
    """What the network returns."""

    scores: Tensor  # (B, answers)
    pooled: Tensor  # (B, D)


class ClipVilNetwork(nn.Module):
    """Visual question answering from raw images (CLIP-ViL, arXiv 2107.06383).

    Args:
        image_encoder: images (B_img, 3, H, W) -> grid features (B_img, C, h, w).
        visual_embedding: grid features -> visual tokens (B_img, N, D).
        fusion: text and visual tokens -> pooled (B, D).
        classifier: pooled -> scores (B, answers).
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        visual_embedding: nn.Module,
        fusion: nn.Module,
        classifier: nn.Module,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.visual_embedding = visual_embedding
        self.fusion = fusion
        self.classifier = classifier

    @classmethod
    def from_config(
        cls,
        image_encoder: Mapping[str, Any],
        fusion: Mapping[str, Any],
        classifier: Mapping[str, Any],
        num_answers: int,
        visual_embedding: Mapping[str, Any] | None = None,
        where: str = "model_config.clipvil",
    ) -> ClipVilNetwork:
        """Build the network from the sections of a yaml file.

        Args:
            image_encoder: `{type: clip_grid, params: {...}}`.
            fusion: `{type: joint, params: {...}}`.
            classifier: `{type: mlp, params: {...}}`.
            num_answers: size of the answer vocabulary.
            visual_embedding: `{pos_num: ...}`, or None for the published values.
            where: dotted place of the sections, the prefix of every error.

        Raises:
            ConfigError: a section has an unknown key, type or value.
        """
        encoder = build_image_encoder(image_encoder, f"{where}.image_encoder")
        fusion_module = build_fusion(fusion, f"{where}.fusion")
        shared = fusion_module.config
        embedding = VisualEmbedding(
            from_config(VisualEmbeddingConfig, visual_embedding, f"{where}.visual_embedding"),
            encoder.out_channels,
            shared.hidden_size,
            dropout=shared.hidden_dropout_prob,
            initializer_range=shared.initializer_range,
        )
        head = build_head(classifier, shared.hidden_size, num_answers, f"{where}.classifier")
        return cls(encoder, embedding, fusion_module, head)

    def encode_images(self, images: Tensor) -> Tensor:
        """Images (B_img, 3, H, W) -> visual tokens (B_img, N, D)."""
        return self.visual_embedding(self.image_encoder(images))

    def forward(
        self,
        images: Tensor,
        image_index: Tensor,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
    ) -> ClipVilOutput:
        """Score every answer for every question.

        Args:
            images: (B_img, 3, H, W) float, the unique images of the batch, normalised.
            image_index: (B,) int64, the row of `images` that a question asks about.
            input_ids: (B, T) int64.
            input_mask: (B, T), 1 for word pieces, 0 for padding.
            segment_ids: (B, T) int64.

        Returns:
            Scores (B, answers) before the sigmoid, and the pooled output (B, D).
        """
        # The tower and the projection run once per image; only their tokens are repeated.
        visual_tokens = self.encode_images(images).index_select(0, image_index)
        pooled = self.fusion(input_ids, input_mask, segment_ids, visual_tokens)
        return ClipVilOutput(self.classifier(pooled), pooled)
