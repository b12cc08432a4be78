"""The answer vocabulary: MMF's processor ``clipvil_answer``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmf.common.registry import registry
from mmf.datasets.processors.processors import BaseProcessor

from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.data.table import QuestionTable

FROM_DATASET = "dataset"


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
        params = from_config(AnswerParams, config, "processors.answer_processor.params")
        self._answers: list[str] = []
        self._rows: dict[str, int] = {}
        if params.vocab != FROM_DATASET:
            inside = Path(data_dir or ".", params.vocab)
            here = Path(params.vocab).is_file() or not inside.is_file()
            path = params.vocab if here else str(inside)
            self._set(read_answer_file(path), path)

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
        self._answers = answers
        self._rows = {answer: row for row, answer in enumerate(answers)}


def read_answer_file(path: str) -> list[str]:
    """Read an answer list: one answer a line, or a JSON list of strings.

    Raises:
        ConfigError: there is no such file, or it holds something else.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(
            f"Answer vocabulary {path} does not exist; expected a .txt or .json file, or 'dataset'."
        )
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        answers = json.loads(text)
        if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
            raise ConfigError(f"{path}: expected a JSON list of answers.")
    else:
        # An empty line is an answer too: LXMERT's list has it, for what normalises to nothing.
        answers = text.removesuffix("\n").split("\n")
    if not any(answers):
        raise ConfigError(f"{path}: no answers; expected at least one.")
    return answers


def build_answer_vocabulary(table: QuestionTable, min_count: int) -> list[str]:
    """Make an answer vocabulary of a labelled split.

    An answer counts once for each question whose main answer it is: for VQA v2 the normalised
    ``multiple_choice_answer``. This is how the published lists came about, with 9 for VQA v2.

    Args:
        table: the training questions.
        min_count: an answer that is the main one of fewer questions is left out.

    Returns:
        the answers, the most frequent first, equals by alphabet.

    Raises:
        ConfigError: no answer is frequent enough.
    """
    soft = table.answers_of(np.arange(len(table)))
    _, first = np.unique(soft.positions, return_index=True)
    texts = table.answer_texts
    totals = np.bincount(soft.rows[first], minlength=len(texts))
    counts: Counter[str] = Counter()
    for row in np.flatnonzero(totals).tolist():
        counts[texts[row]] += int(totals[row])
    frequent = [answer for answer, count in counts.items() if count >= min_count]
    if not frequent:
        raise ConfigError(
            f"answer_min_count: got {min_count}, but no answer of {table.source} is the main one "
            "of so many questions. Lower it, or name a vocabulary: "
            "processors.answer_processor.params.vocab."
        )
    return sorted(frequent, key=lambda answer: (-counts[answer], answer))
