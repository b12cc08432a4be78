"""The vocabulary of labels: MMF's processor ``clipvil_answer``."""

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
from clipvil_mmf.text_files import TextFileError, read_labels

FROM_DATASET = "dataset"
_WHERE = "processors.answer_processor.params"


class UnknownLabelError(ValueError):
    """A label that the vocabulary lacks; the message names both."""


@dataclass
class LabelParams:
    """Where the labels come from."""

    # `dataset` for the list that the dataset brings, or a file: one label a line (.txt), or a JSON
    # list as LXMERT's trainval_label2ans.json. A relative path is looked up in the current
    # directory, then in the dataset's data_dir.
    vocab: str = FROM_DATASET
    # Of LXMERT's all_ans.json, keep the answers of these data sets alone (vqa, gqa, visual7w), so
    # that the head has fewer rows; null for all.
    sets: list[str] | None = None

    def __post_init__(self) -> None:
        if self.sets is not None and self.vocab == FROM_DATASET:
            raise ConfigError(
                f"sets: {', '.join(self.sets)}, but vocab is {FROM_DATASET!r}; they choose among "
                "the answers of an all_ans.json. Set vocab to it, or sets to null."
            )


@registry.register_processor("clipvil_answer")
class LabelProcessor(BaseProcessor):
    """Label <-> row of the head, in the order of the vocabulary file; see ``LabelParams``."""

    def __init__(self, config: Any, *args: Any, data_dir: str | None = None, **kwargs: Any) -> None:
        super().__init__(config)
        params = from_config(LabelParams, config, _WHERE)
        self.labels: list[str] = []  # the rows of the head
        self._rows: dict[str, int] = {}
        if params.vocab != FROM_DATASET:
            inside = Path(data_dir or ".", params.vocab)
            here = Path(params.vocab).is_file() or not inside.is_file()
            path = params.vocab if here else str(inside)
            try:
                self._set(read_labels(path, params.sets), path)
            except (FileNotFoundError, TextFileError) as error:
                raise ConfigError(f"{_WHERE}.vocab: {error}") from error

    @property
    def needs_fit(self) -> bool:
        """Whether the dataset is still to give its labels."""
        return not self.labels

    def fit(self, labels: Sequence[str] | None, dataset: str) -> None:
        """Take the dataset's own labels (``vocab: dataset``); none is a ``ConfigError``."""
        if not labels:
            raise ConfigError(
                f"dataset_config.{dataset}.processors.answer_processor.params.vocab: {dataset} "
                "brings no list of labels; expected the path of one (.txt or .json)."
            )
        self._set(list(labels), dataset)

    def __call__(self, item: Mapping[str, float]) -> list[tuple[int, float]]:
        """Map soft labels ``{label: score}`` to ``[(row, score), ...]``.

        Raises:
            UnknownLabelError: a label outside the vocabulary.
        """
        for label in item:
            if label not in self._rows:
                raise UnknownLabelError(
                    f"the label {label!r} is not among the {len(self.labels)} of the "
                    f"vocabulary. Add it ({_WHERE}.vocab), or set "
                    "on_unknown_answer: keep or skip in the dataset's configuration"
                )
        return [(self._rows[label], float(score)) for label, score in item.items()]

    def rows_of(self, labels: Sequence[str]) -> np.ndarray:
        """(N,) int64 rows of the head of these labels; -1 for unknown ones."""
        return np.asarray([self._rows.get(label, -1) for label in labels], dtype=np.int64)

    def get_vocab_size(self) -> int:
        """The number of labels."""
        return len(self.labels)

    def _set(self, labels: list[str], source: str) -> None:
        self.labels = labels
        self._rows = {label: row for row, label in enumerate(labels)}
        if len(self._rows) < len(labels):
            doubled = Counter(labels).most_common(1)[0][0]
            raise ConfigError(f"{source}: the label {doubled!r} occurs twice; expected each once.")
        broken = next((label for label in labels if {"\n", "\r"} & set(label)), None)
        if broken is not None:
            raise ConfigError(
                f"{source}: the label {broken!r} has a line break; expected one line: a run keeps "
                "its vocabulary as a file with one label a line. Write a blank in its place in "
                "the question files, or in the vocabulary."
            )
