"""CLIP-ViL with its pre-training heads: from captions and questions to three losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion import Text
from clipvil_mmf.heads.pretraining import PretrainingHeads, PretrainingLosses
from clipvil_mmf.loss_functions import NO_CLASS, class_cross_entropy
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.vision import Regions


class PretrainingOutput(NamedTuple):
    """What the pre-training network returns."""

    losses: PretrainingLosses
    scores: Tensor  # (B, answers), before the softmax
    # How many words, pairs and answers of each sample are predicted right, and have a label.
    correct: Tensor  # (B, 3) float32
    counted: Tensor  # (B, 3) float32


class PretrainingNetwork(ClipVilNetwork):
    """The network, with the heads of masked words and image-text matching beside its answer head.

    Its parameters are those of :class:`ClipVilNetwork` under the same names, and `pretraining.*`.
    Without a head (0 labels) there is no loss of answers. Arguments are those of
    :class:`ClipVilNetwork`, without a tuning method.

    Raises:
        ConfigError: there is one.
    """

    label_fields = ("word_labels", "matching_labels", "targets")

    def __init__(
        self,
        image_encoder: nn.Module,
        visual_embedding: nn.Module,
        fusion: nn.Module,
        classifier: nn.Module,
        tuning: Mapping[str, Any] | None = None,
        where: str = "tuning",
    ) -> None:
        if tuning is not None and tuning.get("method", "full") != "full":
            raise ConfigError(
                f"{where}.method: got {tuning['method']}, but pre-training trains the whole "
                "network: expected full, or no section tuning."
            )
        super().__init__(image_encoder, visual_embedding, fusion, classifier, tuning, where)
        config = self.fusion.config
        self.pretraining = PretrainingHeads(
            config.hidden_size, config.vocab_size, config.initializer_range
        )

    def forward(
        self,
        images: Tensor | Regions,
        image_index: Tensor,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        word_labels: Tensor,
        matching_labels: Tensor,
        answer_labels: Tensor,
    ) -> PretrainingOutput:
        """Compute the published losses.

        Args:
            images: as for :meth:`ClipVilNetwork.forward`, like the next four.
            image_index: (B,) int64.
            input_ids: (B, T) int64, with masked words.
            input_mask: (B, T).
            segment_ids: (B, T) int64.
            word_labels: (B, T) int64, the word pieces that were masked, -1 elsewhere.
            matching_labels: (B,) int64, 1 where the sentence belongs to the image, else 0.
            answer_labels: (B,) int64, the row of the answer; -1 for a caption,
                or where the sentence belongs to another image.

        Returns:
            The losses, which are 0 where nothing has a label; the scores of the answers; and what
            is predicted right.
        """
        visual = self.encode_visual(images).select(image_index)
        text = Text(input_ids, input_mask, segment_ids)
        states = self.fusion.language_states(text, visual)
        pooled = self.fusion.pool(states)
        scores = self.classifier(pooled)
        heads, table = self.pretraining, self.fusion.embeddings.word.weight
        masked = word_labels != NO_CLASS
        words = heads.score_words(states[masked], table)
        matching = heads.score_matching(pooled)
        if scores.shape[1]:
            answers = class_cross_entropy(scores, answer_labels)
        else:  # no head: no label counts; compiled, a cross entropy over no class fails
            answer_labels, answers = torch.full_like(answer_labels, NO_CLASS), scores.sum()
        losses = PretrainingLosses(
            class_cross_entropy(words, word_labels[masked]),
            class_cross_entropy(matching, matching_labels),
            answers,
        )
        right = torch.zeros_like(masked)
        right[masked] = words.argmax(dim=1) == word_labels[masked]
        answered = answer_labels != NO_CLASS
        best = scores.argmax(dim=1) if scores.shape[1] else answer_labels
        correct = (
            right.sum(dim=1),
            matching.argmax(dim=1) == matching_labels,
            answered & (best == answer_labels),
        )
        counted = (masked.sum(dim=1), matching_labels != NO_CLASS, answered)
        return PretrainingOutput(losses, scores, *(_columns(*of) for of in (correct, counted)))


def _columns(*values: Tensor) -> Tensor:
    """Three times (B,) -> (B, 3) float32."""
    return torch.stack([value.float() for value in values], dim=1)
