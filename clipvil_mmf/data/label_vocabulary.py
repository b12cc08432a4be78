"""Vocabularies of labels: read from a file, or made of those of a dataset. Needs no MMF."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.text_files import TextFileError, read_text


class VocabularyError(ValueError):
    """A file that is not a vocabulary of labels, or labels of which none can be made."""


def read_labels(path: str | Path) -> list[str]:
    """Read a list of labels: one a line, or a JSON list as ``trainval_label2ans.json``.

    An empty line is a label too: LXMERT's list has it, for what normalises to nothing.

    Raises:
        FileNotFoundError: no such file.
        VocabularyError: it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Answer vocabulary {path} does not exist; expected a JSON list or one answer a line"
        )
    try:
        text = read_text(path)
    except TextFileError as e:
        raise VocabularyError(str(e)) from e
    if path.suffix != ".json":
        labels = text.removesuffix("\n").split("\n")
    else:
        try:
            labels = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise VocabularyError(f"{path} is not valid JSON ({e}); expected a list") from e
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise VocabularyError(
            f"{path}: expected a list of answers, such as trainval_label2ans.json (not ans2label)"
        )
    if not any(labels):
        raise VocabularyError(f"{path}: no answers; expected at least one")
    return labels


def build_labels(tables: Iterable[QuestionTable], min_count: int) -> list[str]:
    """The main labels of enough samples: the most frequent first, then by letter.

    For VQA v2 the main answer is the normalised ``multiple_choice_answer``. Source of the rule: the
    preprocessing behind ``trainval_label2ans.json`` (at least 9 times in train and val: 3,129
    answers); that file has another order.

    Raises:
        VocabularyError: no label is frequent enough.
    """
    counts: Counter[str] = Counter()
    for table in tables:
        soft = table.answers_of(np.arange(len(table)))
        main = soft.rows[np.unique(soft.positions, return_index=True)[1]]
        texts = table.answer_texts
        rows, times = np.unique(main, return_counts=True)
        for row, n in zip(rows, times, strict=True):
            counts[texts[row]] += int(n)
    del counts[""]
    kept = [label for label, count in counts.items() if count >= min_count]
    if not kept:
        raise VocabularyError(
            f"minimum count {min_count}: none of the {len(counts):,} answers occurs that often; "
            "expected at least one. Lower it (--min-count, answer_min_count)"
        )
    return sorted(kept, key=lambda label: (-counts[label], label))
