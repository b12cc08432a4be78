"""CLIP-ViL as one torch module: image encoder, visual embedding, fusion, head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion import Fusion, Text, Visual, build_fusion
from clipvil_mmf.heads import build_head
from clipvil_mmf.tuning import TuningMethod, build_tuning
from clipvil_mmf.vision import (
    Grid,
    ImageEncoder,
    Regions,
    build_image_encoder,
    build_visual_embedding,
)


class ClipVilOutput(NamedTuple):
    """What the network returns."""

    scores: Tensor  # (B, labels)
    pooled: Tensor  # (B, D)


class ClipVilNetwork(nn.Module):
    """Visual question answering from raw images (CLIP-ViL, arXiv 2107.06383) or from regions.

    Args:
        image_encoder: images (B_img, 3, H, W) -> grid features (B_img, C, h, w); or a `Grid` or
            `Regions` as they are.
        visual_embedding: grid features or `Regions` -> visual tokens (B_img, N, D).
        fusion: text and visual tokens -> pooled (B, D).
        classifier: pooled -> scores (B, labels).
        tuning: which of these are trainable, and how they are read: the section of `build_tuning`.
        where: dotted place of that section, the prefix of its errors.

    Attributes:
        passes: k, how often the text of a sample is read, each time with another image; the
            classifier takes the pooled outputs side by side, (B, k*D).
        label_fields: the fields of a batch that :meth:`forward` takes beside images and texts.
    """

    passes: int = 1
    label_fields: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        image_encoder: ImageEncoder,
        visual_embedding: nn.Module,
        fusion: Fusion,
        classifier: nn.Module,
        tuning: Mapping[str, Any] | None = None,
        where: str = "tuning",
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.visual_embedding = visual_embedding
        self.fusion = fusion
        self.classifier = classifier
        fusion.attach(image_encoder)
        self.tuning: TuningMethod = build_tuning(tuning, self, where)
        if image_encoder.gives_tokens and any(
            p.requires_grad for p in visual_embedding.parameters()
        ):
            raise ConfigError(
                f"{where}.method: {self.tuning.section['method']} trains the visual embedding, "
                "which projected features have behind them: expected a method that does not "
                "(frozen, unipt, ladder, sherl), or raw features."
            )
        self.train(self.training)

    @classmethod
    def from_config(
        cls,
        image_encoder: Mapping[str, Any],
        fusion: Mapping[str, Any],
        classifier: Mapping[str, Any],
        num_labels: int,
        visual_embedding: Mapping[str, Any] | None = None,
        tuning: Mapping[str, Any] | None = None,
        where: str = "model_config.clipvil",
        passes: int = 1,
    ) -> ClipVilNetwork:
        """Build the network from the sections of a yaml file.

        Args:
            image_encoder: `{type: clip_grid, params: {...}}`; `fusion` and `classifier` alike.
            fusion: such as `{type: joint, params: {...}}`.
            classifier: such as `{type: mlp, params: {...}}`.
            num_labels: rows of the head: the answers of the vocabulary, or the classes; 0 for no
                head.
            visual_embedding: such as `{pos_num: ...}`, or None for the published values; only for
                grids.
            tuning: `{method: unipt, params: {...}}`, or None to fine-tune everything.
            where: dotted place of the sections, the prefix of every error.
            passes: how often the text of a sample is read, as its task has it.

        Raises:
            ConfigError: a section has an unknown key, type or value.
        """
        encoder = build_image_encoder(image_encoder, f"{where}.image_encoder")
        fusion_module = build_fusion(fusion, f"{where}.fusion")
        embedding = build_visual_embedding(
            visual_embedding, encoder, fusion_module.config, f"{where}.visual_embedding"
        )
        width = fusion_module.hidden_size
        head = build_head(classifier, passes * width, num_labels, f"{where}.classifier")
        network = cls(encoder, embedding, fusion_module, head, tuning, f"{where}.tuning")
        network.passes = passes
        return network

    def train(self, mode: bool = True) -> ClipVilNetwork:
        """Switch modes, but for parts that the tuning method keeps in one."""
        super().train(mode)
        self.tuning.set_modes(self)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call :meth:`forward`; a compiled one gets batches that may differ in size."""
        if self._compiled_call_impl is not None:
            for value in (*args, *kwargs.values()):
                _mark_sizes(value)
        return super().__call__(*args, **kwargs)

    def tower_parameters(self) -> list[nn.Parameter]:
        """The visual tower's parameters, with those that the tuning method puts into it."""
        return [*self.image_encoder.parameters(), *self.tuning.tower_parameters()]

    def encode_visual(self, images: Tensor | Grid | Regions) -> Visual:
        """Images or features -> visual tokens (B_img, N, D); `no_grad` as far as all is frozen."""
        tower = any(p.requires_grad for p in self.tower_parameters())
        embedding = tower or any(p.requires_grad for p in self.visual_embedding.parameters())
        graph = torch.is_grad_enabled()
        with torch.set_grad_enabled(graph and tower):
            features = self.image_encoder(images)
        with torch.set_grad_enabled(graph and embedding):
            return self.visual_embedding(features)

    def forward(
        self,
        images: Tensor | Grid | Regions | Visual,
        image_index: Tensor,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
    ) -> ClipVilOutput:
        """Score every label for every question.

        Args:
            images: (B_img, 3, H, W) float, the unique images of the batch, normalised; or their
                grid or regions, where the image encoder is `grid_features` or `region_features`; or
                what `encode_visual` has made of them.
            image_index: (B,) int64, the row of `images` that a question asks about; with k passes
                (B, k), that of each.
            input_ids: (B, T) int64.
            input_mask: (B, T), 1 for word pieces, 0 for padding.
            segment_ids: (B, T) int64.

        Returns:
            Scores (B, labels) before the sigmoid or softmax, and the pooled output (B, k*D).
        """
        text = Text(input_ids, input_mask, segment_ids)
        visual = images
        if not isinstance(images, Visual):
            with self.tuning.backbone_precision(input_ids.device):
                visual = self.encode_visual(images)
        text, visual = self.paired(text, visual, image_index)
        pooled = self.tuning.read(self.fusion, text, visual).reshape(input_ids.shape[0], -1)
        return ClipVilOutput(self.classifier(pooled), pooled)

    def paired(self, text: Text, visual: Visual, image_index: Tensor) -> tuple[Text, Visual]:
        """Each text beside the visual tokens of its image; with k passes B*k rows of both.

        The passes of a sample follow one another, as in LXMERT's code (airsplay/lxmert, nlvr2).
        """
        if self.passes > 1:
            text = Text(*(part.repeat_interleave(self.passes, dim=0) for part in text))
        return text, visual.select(image_index.flatten())


def _mark_sizes(value: Tensor | Regions | Visual | None) -> None:
    """Tell torch.compile which sizes of an argument vary from batch to batch.

    They are the numbers of questions, images, word pieces and regions, but not the sizes of images,
    which have two at most: a graph for one size alone is faster.
    """
    if isinstance(value, (Regions, Visual)):
        for part in value:
            _mark_sizes(part)
    elif value is not None:
        are_images = value.ndim == 4
        for dimension in range(1 if are_images else min(value.ndim, 2)):
            torch._dynamo.maybe_mark_dynamic(value, dimension)
        if are_images:
            torch._dynamo.mark_static(value, 2)
            torch._dynamo.mark_static(value, 3)
