"""BERT's uncased WordPiece: MMF's processor ``clipvil_wordpiece``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmf.common.registry import registry
from mmf.datasets.processors.processors import BaseProcessor

from clipvil_mmf.config import ConfigError, check_at_least, check_choice, from_config
from clipvil_mmf.text.tokenizer import WordPieceTokenizer
from clipvil_mmf.text.vocabulary import (
    SPECIAL_TOKENS,
    WHERE,
    find_vocabulary,
    read_tokens,
    train_vocabulary,
)

TRAIN = "train"


@dataclass
class WordPieceParams:
    """How questions become token ids."""

    # A file with one token a line (BERT's vocab.txt), the name of a repository of the Hugging Face
    # hub that holds one (bert-base-uncased), or train: made from the training questions.
    vocab: str = TRAIN
    # Pieces of a question and the two tokens around them, at most; CLIP-ViL's is 20.
    max_seq_length: int = 20
    # max pads every batch to max_seq_length, longest to its longest question.
    pad_to: str = "max"
    # For train: tokens at most.
    vocab_size: int = 30522
    # For train: a word that occurs less often is left to its letters.
    min_frequency: int = 1

    def __post_init__(self) -> None:
        check_choice("pad_to", self.pad_to, ("max", "longest"))
        check_at_least("max_seq_length", self.max_seq_length, 3)
        check_at_least("vocab_size", self.vocab_size, len(SPECIAL_TOKENS) + 1)
        check_at_least("min_frequency", self.min_frequency, 1)
        for key in ("vocab_size", "min_frequency"):
            if self.vocab != TRAIN and getattr(self, key) != getattr(type(self), key):
                raise ConfigError(
                    f"{key}: for vocab: {TRAIN} alone, but vocab is {self.vocab!r}; leave it out."
                )


@registry.register_processor("clipvil_wordpiece")
class WordPieceProcessor(BaseProcessor):
    """A :class:`WordPieceTokenizer` by its section of a yaml file, see ``WordPieceParams``.

    A relative path of a vocabulary is looked up in the current directory, then in ``data_dir``.
    """

    def __init__(self, config: Any, *args: Any, data_dir: str | None = None, **kwargs: Any) -> None:
        super().__init__(config)
        self.params = from_config(WordPieceParams, config, WHERE)
        self._tokenizer: WordPieceTokenizer | None = None
        if self.params.vocab != TRAIN:
            file = find_vocabulary(self.params.vocab, data_dir)
            self._set(read_tokens(file), str(file))

    @property
    def needs_fit(self) -> bool:
        """Whether the vocabulary is still to be made from the training questions."""
        return self._tokenizer is None

    def fit(self, questions: Iterable[str]) -> None:
        """Make the vocabulary from the training questions (``vocab: train``)."""
        size, least = self.params.vocab_size, self.params.min_frequency
        self._set(train_vocabulary(questions, size, least), "train questions")

    @property
    def tokens(self) -> list[str]:
        """The vocabulary; the token of id i is ``tokens[i]``."""
        return [] if self._tokenizer is None else self._tokenizer.tokens

    def get_vocab_size(self) -> int:
        """The number of tokens."""
        return len(self.tokens)

    def __call__(self, item: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """See ``WordPieceTokenizer.__call__``."""
        if self._tokenizer is None:
            raise RuntimeError(f"{WHERE}.vocab is 'train': call fit(training questions) first")
        return self._tokenizer(item)

    def _set(self, tokens: list[str], source: str) -> None:
        self._tokenizer = WordPieceTokenizer(
            tokens, self.params.max_seq_length, f"{WHERE}.vocab: {source}"
        )
