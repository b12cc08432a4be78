"""A picture of a few questions with what a model answers as it is being trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from clipvil_mmf.prediction.picture import Cell, draw, judge

if TYPE_CHECKING:
    from clipvil_mmf.data.dataset import ClipVilDataset


def picture_of_predictions(
    dataset: ClipVilDataset, indices: Sequence[int], report: Any
) -> Image.Image | None:
    """Draw questions of a dataset on their images, with answers, right or wrong, and confidence.

    Args:
        dataset: it holds the questions.
        indices: which of them.
        report: ``scores`` (B, labels), before the sigmoid or softmax.

    Returns:
        a picture in RGB; None for pre-training, and where features stand for images.

    Raises:
        PictureError: an image cannot be read.
    """
    questions = dataset.questions_to_show(indices)
    if questions is None or dataset.task.pretrains:
        return None
    probabilities = dataset.task.probabilities(report.scores.detach().float().cpu())
    confidences, rows = probabilities.max(dim=1)
    cells = [
        Cell(question.image, (judge(question, dataset.labels[row], confidence),))
        for question, row, confidence in zip(
            questions, rows.tolist(), confidences.tolist(), strict=True
        )
    ]
    return draw(cells)
