"""The answer vocabulary: MMF's processor ``clipvil_answer``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmf.common.registry import registry
from mmf.datasets.processors.processors import BaseProcessor

from clipvil_mmf.config import ConfigError, from_config

FROM_DATASET = "dataset"


class UnknownAnswerError(ValueError):
    """An answer that the vocabulary lacks; the message names both."""


@dataclass
class AnswerParams:
    """Where the answers come from.

    Args:
        vocab: ``dataset`` for the list that the dataset brings, or a file: one answer a line
            (``.txt``), or a JSON list as LXMERT's ``trainval_label2ans.json``.
    """

    vocab: str = FROM_DATASET


@registry.register_processor("clipvil_answer")
class AnswerProcessor(BaseProcessor):
    """Answer <-> row of the classifier, in the order of the vocabulary file.

    Args:
        config: see ``AnswerParams``.
    """

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config)
        params = from_config(AnswerParams, config, "processors.answer_processor.params")
        self._answers: list[str] = []
        self._rows: dict[str, int] = {}
        self._from_dataset = params.vocab == FROM_DATASET
        if not self._from_dataset:
            self._set(read_answer_file(params.vocab), params.vocab)

    def fit(self, answers: Sequence[str] | None, dataset: str) -> None:
        """Take the dataset's own answers, unless the configuration names a file.

        Raises:
            ConfigError: the dataset brings none either.
        """
        if not self._from_dataset or self._answers:
            return
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
                    "on_unknown_answer: skip in the dataset's configuration"
                )
            pairs.append((self._rows[answer], float(score)))
        return pairs

    def knows(self, answer: str) -> bool:
        """Whether the vocabulary has this answer."""
        return answer in self._rows

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
        answers = [line for line in text.splitlines() if line]
    if not answers:
        raise ConfigError(f"{path}: no answers; expected at least one.")
    return answers
