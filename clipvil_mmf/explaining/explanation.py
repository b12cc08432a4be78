"""An explained answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from clipvil_mmf.explaining.method import ForwardPass
from clipvil_mmf.explaining.photo import Seen, on_photos
from clipvil_mmf.explaining.recording import Recording

if TYPE_CHECKING:
    from clipvil_mmf.network import ClipVilNetwork


@dataclass(frozen=True)
class Explanation:
    """An answer, and where the model looked.

    Maps are float32 of a photo's height and width, none negative, and sum up to 1 over it. There is
    one for each image of the question.

    Attributes:
        answers: pairs of a label and its score, the best first, as `answer` gives them.
        method: that made the maps.
        label: the answer that is explained.
        maps: (height, width) of each image, for the answer.
        words: of the question, as it is written.
        word_maps: (words, height, width) of each image; None where the method has none for words.
    """

    answers: list[tuple[str, float]]
    method: str
    label: str
    maps: tuple[np.ndarray, ...]
    words: tuple[str, ...]
    word_maps: tuple[np.ndarray, ...] | None

    @property
    def map(self) -> np.ndarray:
        """(height, width): that of the first image, which is the only one of most tasks."""
        return self.maps[0]


def forward_pass(
    network: ClipVilNetwork, seen: Seen, texts: tuple[Tensor, Tensor, Tensor], row: int | None
) -> tuple[ForwardPass, Tensor]:
    """Answer a question with its graph.

    Args:
        network: in evaluation mode.
        seen: the images.
        texts: ids, mask and segments of the question, (1, T) int64 each, without padding.
        row: the answer whose score is differentiated; None for the best.

    Returns:
        The pass, and the scores (labels,) of all answers.
    """
    passes = len(seen.grid)
    index = torch.arange(passes, device=seen.grid.device)
    recording = Recording(network.fusion, network.tuning)
    with ExitStack() as stack:
        stack.callback(setattr, network.tuning, "keeps_graph", network.tuning.keeps_graph)
        network.tuning.keeps_graph = True
        stack.enter_context(torch.enable_grad())
        stack.enter_context(recording.running())
        # Clones: tensors made in inference mode have no graph.
        grid = seen.grid.clone().requires_grad_()
        texts, index = tuple(part.clone() for part in texts), index.clone()
        with network.tuning.backbone_precision(grid.device):
            visual = network.visual_embedding(grid)
        # Not the compiled network, which would not meet the hooks.
        scores = network.forward(visual, index[None] if passes > 1 else index, *texts).scores[0]
        row = int(scores.argmax()) if row is None else row
    text_length, visual_length = texts[0].shape[1], visual.tokens.shape[1]
    steps, reason = recording.steps(text_length, visual_length)
    read = recording.read if steps else []
    found = ForwardPass(text_length, grid, visual_length, scores[row], steps, reason, read)
    return found, scores.detach()


def make_explanation(
    cells: Tensor,
    seen: Seen,
    words: Sequence[tuple[str, range]],
    answers: list[tuple[str, float]],
    method: str,
    label: str,
) -> Explanation:
    """Put what a method gave onto the photos.

    Args:
        cells: (P, T, N), of each text token; or (P, 1, N), of the answer alone.
        seen: the images.
        words: the words of the question, and which text tokens each is.
        answers: as :class:`Explanation` has them.
        method: as :class:`Explanation` has it.
        label: as :class:`Explanation` has it.
    """
    has_words = cells.shape[1] > 1
    rows = [cells[:, 0]]
    if has_words:
        rows += [cells[:, pieces.start : pieces.stop].mean(1) for _, pieces in words]
    found = on_photos(torch.stack(rows, dim=1), seen)
    return Explanation(
        answers,
        method,
        label,
        maps=tuple(maps[0] for maps in found),
        words=tuple(word for word, _ in words),
        word_maps=tuple(maps[1:] for maps in found) if has_words else None,
    )
