"""BERT's uncased WordPiece on the ``tokenizers`` library: MMF's processor ``clipvil_wordpiece``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmf.common.registry import registry
from mmf.datasets.processors.processors import BaseProcessor
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from clipvil_mmf.config import ConfigError, check_at_least, check_choice, from_config
from clipvil_mmf.text.vocabulary import (
    CLS,
    PAD,
    SEP,
    SPECIAL_TOKENS,
    UNK,
    find_vocabulary,
    read_tokens,
    train_vocabulary,
)

TRAIN = "train"
_WHERE = "processors.text_processor.params"

# The library's threads and the forks of data loader workers do not mix: it would warn at each
# fork. Questions are tokenised once, so one thread is fast enough.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclass
class WordPieceParams:
    """How questions become token ids.

    Args:
        vocab: a file with one token a line (BERT's ``vocab.txt``), the name of a repository of
            the Hugging Face hub that holds one (``bert-base-uncased``), or ``train``: made from
            the training questions.
        max_seq_length: pieces of a question and the two tokens around them, at most; CLIP-ViL's
            is 20.
        pad_to: ``max`` pads every batch to ``max_seq_length``, ``longest`` to its longest question.
        vocab_size: for ``train``: tokens at most.
        min_frequency: for ``train``: a word that occurs less often is left to its letters.
    """

    vocab: str = TRAIN
    max_seq_length: int = 20
    pad_to: str = "max"
    vocab_size: int = 30522
    min_frequency: int = 1

    def __post_init__(self) -> None:
        check_choice("pad_to", self.pad_to, ("max", "longest"))
        check_at_least("max_seq_length", self.max_seq_length, 3)
        check_at_least("vocab_size", self.vocab_size, len(SPECIAL_TOKENS) + 1)
        check_at_least("min_frequency", self.min_frequency, 1)


@registry.register_processor("clipvil_wordpiece")
class WordPieceProcessor(BaseProcessor):
    """Question strings -> ids of ``[CLS] pieces [SEP]``: lower case, accents stripped, cut.

    Args:
        config: see ``WordPieceParams``.
        data_dir: where a relative ``vocab`` path is looked up after the current directory.
    """

    def __init__(self, config: Any, *args: Any, data_dir: str | None = None, **kwargs: Any) -> None:
        super().__init__(config)
        self.params = from_config(WordPieceParams, config, _WHERE)
        self._tokenizer: Tokenizer | None = None
        self._tokens: list[str] = []
        if self.params.vocab != TRAIN:
            file = find_vocabulary(self.params.vocab, data_dir)
            self._set(read_tokens(file), str(file))

    @property
    def needs_fit(self) -> bool:
        """Whether the vocabulary is still to be made from the training questions."""
        return self._tokenizer is None

    def fit(self, questions: Iterable[str]) -> None:
        """Make the vocabulary from the training questions (``vocab: train``)."""
        params = self.params
        self._set(
            train_vocabulary(questions, params.vocab_size, params.min_frequency), "train questions"
        )

    @property
    def tokens(self) -> list[str]:
        """The vocabulary; the token of id i is ``tokens[i]``."""
        return self._tokens

    def get_vocab_size(self) -> int:
        """The number of tokens."""
        return len(self._tokens)

    def __call__(self, item: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokenise questions.

        Args:
            item: N questions.

        Returns:
            ids (N, max_seq_length) int32, padded with [PAD]; lengths (N,) int32.
        """
        if self._tokenizer is None:
            raise RuntimeError(f"{_WHERE}.vocab is 'train': call fit(training questions) first")
        longest = self.params.max_seq_length
        ids = np.full((len(item), longest), self._id(PAD), dtype=np.int32)
        lengths = np.empty(len(item), dtype=np.int32)
        ids[:, 0] = self._id(CLS)
        encodings = self._tokenizer.encode_batch(list(item), add_special_tokens=False)
        for row, encoding in enumerate(encodings):
            pieces = encoding.ids[: longest - 2]
            ids[row, 1 : len(pieces) + 1] = pieces
            lengths[row] = len(pieces) + 2
        ids[np.arange(len(item)), lengths - 1] = self._id(SEP)
        return ids, lengths

    def _id(self, token: str) -> int:
        assert self._tokenizer is not None
        return self._tokenizer.token_to_id(token)

    def _set(self, tokens: list[str], source: str) -> None:
        rows = {token: row for row, token in enumerate(tokens)}
        missing = [token for token in (PAD, UNK, CLS, SEP) if token not in rows]
        reason = ""
        if missing:
            reason = f"it lacks {', '.join(missing)}"
        elif rows[PAD] != 0:
            reason = "its first token is not [PAD]"
        elif len(rows) < len(tokens):
            reason = "a token occurs twice"
        if reason:
            raise ConfigError(
                f"{_WHERE}.vocab: {source} is no BERT vocabulary: {reason}. Expected one token a "
                "line, [PAD] first."
            )
        self._tokens = tokens
        self._tokenizer = _tokenizer(rows)


def _tokenizer(rows: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(rows, unk_token=UNK, max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens([token for token in SPECIAL_TOKENS if token in rows])
    return tokenizer
