"""The samples of pre-training: sentences of other images, masked words, drawn answers.

A batch is one of ``dataset.py`` with, in the place of its targets,

* ``input_ids``, of which some word pieces are masked; ``word_labels`` (B, T) int64: these pieces,
  -1 elsewhere;
* ``matching_labels`` (B,) int64: 1 where the sentence is one of the image, 0 where it is another's;
* ``targets`` (B,) int64: the row of the answer, -1 for none, and where the sentence is another's.

What is drawn for a sample depends on the seed of the run, the epoch and the number of the sample
alone, neither on its rank, its worker nor on the samples before; in validation it is always the
same. Source: LXMERT (arXiv 1908.07490) as CLIP-ViL pre-trains with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from clipvil_mmf.config import ConfigError
from clipvil_mmf.data.batching import EpochIndices
from clipvil_mmf.data.dataset import ClipVilDataset
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.text.vocabulary import MASK, WHERE

# The class of what has none, as the losses know it (``loss_functions.NO_CLASS``).
_NONE = -1
# What becomes of a word piece that is to be predicted: [MASK] below the first, a random piece
# below the second, else it stays (BERT, arXiv 1810.04805).
_MASKED, _REPLACED = 0.8, 0.9


class Draws(Protocol):
    """The part of ``numpy.random.Generator`` that samples are drawn with."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    def integers(self, high: int) -> int:
        """Uniform in 0 to ``high`` - 1."""

    def choice(self, values: np.ndarray, *, p: np.ndarray) -> Any:
        """One of the values, with these probabilities."""


def draw_sentence(
    own: int, image_of: Callable[[int], int], count: int, rate: float, draws: Draws
) -> int:
    """The sentence that stands beside the image of a sample: its own, or one of another image.

    Images with more sentences come more often.

    Args:
        own: the sample.
        image_of: gives the image of one of the samples, which are of two images at least.
        count: how many samples there are.
        rate: the share of the other ones.
        draws: what is drawn from.
    """
    if draws.random() >= rate:
        return own
    while True:
        other = int(draws.integers(count))
        if image_of(other) != image_of(own):
            return other


def mask_words(
    pieces: np.ndarray, vocabulary: int, mask: int, rate: float, draws: Draws
) -> tuple[np.ndarray, np.ndarray]:
    """Mask word pieces of a sentence, each by itself.

    Args:
        pieces: (P,) integers, without [CLS] and [SEP].
        vocabulary: how many pieces there are; each of them may replace one.
        mask: the id of [MASK].
        rate: the share of pieces that are to be predicted.
        draws: what is drawn from.

    Returns:
        (P,) what is shown, and (P,) what is to be predicted, -1 for nothing.
    """
    shown, labels = pieces.copy(), np.full_like(pieces, _NONE)
    for place, piece in enumerate(pieces):
        draw = draws.random()
        if draw >= rate:
            continue
        labels[place] = piece
        if draw / rate < _MASKED:
            shown[place] = mask
        elif draw / rate < _REPLACED:
            shown[place] = draws.integers(vocabulary)
    return shown, labels


def draw_answer(rows: np.ndarray, scores: np.ndarray, draws: Draws) -> int:
    """One of a sentence's answers, in proportion to their scores; -1 where it has none."""
    if len(rows) < 2:
        return int(rows[0]) if len(rows) else _NONE
    weights = scores.astype(np.float64)
    return int(draws.choice(rows, p=weights / weights.sum()))


class PretrainingDataset(ClipVilDataset):
    """Sentences about images to pre-train on, for every dataset whose task is ``pretraining``."""

    # What the samples of an epoch are drawn from; that of the run for those to train on.
    _seed = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.task.config.sources is not None:
            self._keep(self.table.has_kind("source", self.task.config.sources))

    def init_processors(self) -> None:
        """As of every dataset.

        Raises:
            ConfigError: the text vocabulary has no [MASK].
            AnnotationError: all sentences are about one image.
        """
        super().init_processors()
        tokens = self.text_processor.tokens
        if MASK not in tokens:
            raise ConfigError(f"{WHERE}.vocab: it has no {MASK}, which words are masked with.")
        self._mask, self._vocabulary_size = tokens.index(MASK), len(tokens)
        images = self._used(self.table.image_rows)
        if self.task.config.mismatch_rate and (images == images[0]).all():
            raise AnnotationError(
                f"{self.table.source}: all sentences are about one image, so that none is about "
                "another; expected two images or more. Add some, or set task.params.mismatch_rate "
                "to 0"
            )

    def build_batch_sampler(
        self, batch_size: int, shuffle: bool, seed: int, rank: int, world_size: int
    ) -> Any:
        """The batches of one rank, whose indices have the epoch in them when it trains."""
        batches = super().build_batch_sampler(batch_size, shuffle, seed, rank, world_size)
        if not shuffle:
            return batches
        self._seed = seed
        return EpochIndices(batches, len(self))

    def batch_bytes(self, samples: int) -> int | None:
        """See ``ClipVilDataset``; there are labels of words and of pairs, too."""
        most = super().batch_bytes(samples)
        labels = 8 * (self.text_processor.params.max_seq_length + 2)
        return None if most is None else most + samples * labels

    def draws(self, index: int) -> np.random.Generator:
        """What a sample of an epoch, see ``EpochIndices``, is drawn from."""
        return np.random.Generator(np.random.Philox(key=[self._seed, index]))

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        return super()._rows(indices % len(self))

    def _image(self, sample: int) -> int:
        row = sample if self._kept is None else self._kept[sample]
        return int(self.table.image_rows[row])

    def _samples(self, indices: np.ndarray, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        """See ``ClipVilDataset``."""
        config, count = self.task.config, len(self)
        draws = [self.draws(index) for index in indices.tolist()]
        own = (indices % count).tolist()
        rate = config.mismatch_rate
        beside = [
            draw_sentence(sample, self._image, count, rate, d)
            for sample, d in zip(own, draws, strict=True)
        ]
        said = super()._rows(np.asarray(beside))
        ids, lengths = self._padded(self.table.texts(said))
        ids = ids.copy()  # the cache keeps them
        labels = np.full_like(ids, _NONE)
        soft = self._known_answers(said)
        answers = np.full(len(own), _NONE)
        matches = np.asarray(own) == beside
        for row, d in enumerate(draws):
            words = slice(1, lengths[row] - 1)
            ids[row, words], labels[row, words] = mask_words(
                ids[row, words], self._vocabulary_size, self._mask, config.mask_rate, d
            )
            if matches[row]:
                known = soft.positions == row
                answers[row] = draw_answer(soft.rows[known], soft.scores[known], d)
        return {
            **self._text_fields(ids, lengths),
            "word_labels": torch.from_numpy(labels).long(),
            "matching_labels": torch.from_numpy(matches.astype(np.int64)),
            "targets": torch.from_numpy(answers),
        }
