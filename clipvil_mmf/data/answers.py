"""The answer vocabulary: MMF's processor ``clipvil_answer``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmf.common.registry import registry
from mmf.datasets.processors.processors import BaseProcessor

from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.data.answer_vocabulary import VocabularyError, read_answers

FROM_DATASET = "dataset"
_WHERE = "processors.answer_processor.params"


class UnknownAnswerError(ValueError):
    """An answer that the vocabulary lacks; the message names both."""


@dataclass
class AnswerParams:
    """Where the answers come from.

    Args:
        vocab: ``dataset`` for the list that the dataset brings, or a file: one answer a line
            (``.txt``), or a JSON list as LXMERT's ``trainval_label2ans.json``. A relative path is
            looked up in the current directory, then in the dataset's ``data_dir``.
    """

    vocab: str = FROM_DATASET


@registry.register_processor("clipvil_answer")
class AnswerProcessor(BaseProcessor):
    """Answer <-> row of the classifier, in the order of the vocabulary file.

    Args:
        config: see ``AnswerParams``.
        data_dir: of the dataset.
    """

    def __init__(self, config: Any, *args: Any, data_dir: str | None = None, **kwargs: Any) -> None:
        super().__init__(config)
        params = from_config(AnswerParams, config, _WHERE)
        self._answers: list[str] = []
        self._rows: dict[str, int] = {}
        if params.vocab != FROM_DATASET:
            inside = Path(data_dir or ".", params.vocab)
            here = Path(params.vocab).is_file() or not inside.is_file()
            path = params.vocab if here else str(inside)
            try:
                self._set(read_answers(path), path)
            except (FileNotFoundError, VocabularyError) as error:
                raise ConfigError(f"{_WHERE}.vocab: {error}") from error

    @property
    def needs_fit(self) -> bool:
        """Whether the dataset is still to give its answers."""
        return not self._answers

    def fit(self, answers: Sequence[str] | None, dataset: str) -> None:
        """Take the dataset's own answers (``vocab: dataset``).

        Raises:
            ConfigError: the dataset brings none either.
        """
        if not answers:
            raise ConfigError(
                f"dataset_config.{dataset}.processors.answer_processor.params.vocab: {dataset} "
                "brings no answer list; expected the path of one (.txt or .json)."
            )
        self._set(list(answers), dataset)

    def __call__(self, item: Mapping[str, float]) -> list[tuple[int, float]]:
        """Map soft answers ``{answer: score}`` to ``[(row, score), ...]``.

        Raises:
            UnknownAnswerError: an answer outside the vocabulary.
        """
        pairs = []
        for answer, score in item.items():
            if answer not in self._rows:
                raise UnknownAnswerError(
                    f"the answer {answer!r} is not among the {len(self._answers)} of the "
                    "vocabulary. Add it (processors.answer_processor.params.vocab), or set "
                    "on_unknown_answer: keep or skip in the dataset's configuration"
                )
            pairs.append((self._rows[answer], float(score)))
        return pairs

    def rows_of(self, answers: Sequence[str]) -> np.ndarray:
        """(N,) int64 rows of the classifier of these answers; -1 for unknown ones."""
        return np.asarray([self._rows.get(answer, -1) for answer in answers], dtype=np.int64)

    @property
    def answers(self) -> list[str]:
        """All answers; the classifier's rows."""
        return self._answers

    def idx2word(self, row: int) -> str:
        """The answer of a row of the classifier."""
        return self._answers[row]

    def get_vocab_size(self) -> int:
        """The number of answers."""
        return len(self._answers)

    def _set(self, answers: list[str], source: str) -> None:
        doubled = [answer for answer, count in Counter(answers).items() if count > 1]
        if doubled:
            raise ConfigError(
                f"{source}: the answer {doubled[0]!r} occurs twice; expected each once."
            )
        broken = next((answer for answer in answers if {"\n", "\r"} & set(answer)), None)
        if broken is not None:
            raise ConfigError(
                f"{source}: the answer {broken!r} has a line break; expected one line: a run keeps "
                "its vocabulary as a file with one answer a line. Write a blank in its place in "
                "the question files, or in the vocabulary."
            )
        self._answers = answers
        self._rows = {answer: row for row, answer in enumerate(answers)}
