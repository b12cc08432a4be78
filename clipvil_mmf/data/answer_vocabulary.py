"""Answer vocabularies: read from a file, or made of the answers of a dataset. Needs no MMF."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.text_files import TextFileError, read_text


class VocabularyError(ValueError):
    """A file that is no answer vocabulary, or answers of which none can be made."""


def read_answers(path: str | Path) -> list[str]:
    """Read an answer list: one answer a line, or a JSON list as ``trainval_label2ans.json``.

    An empty line is an answer too: LXMERT's list has it, for what normalises to nothing.

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
        answers = text.removesuffix("\n").split("\n")
    else:
        try:
            answers = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise VocabularyError(f"{path} is not valid JSON ({e}); expected a list") from e
    if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
        raise VocabularyError(
            f"{path}: expected a list of answers, such as trainval_label2ans.json (not ans2label)"
        )
    if not any(answers):
        raise VocabularyError(f"{path}: no answers; expected at least one")
    return answers


def build_answers(tables: Iterable[QuestionTable], min_count: int) -> list[str]:
    """The main answers of enough questions: the most frequent first, then by letter.

    For VQA v2 the main answer is the normalised ``multiple_choice_answer``. Source of the rule: the
    preprocessing behind ``trainval_label2ans.json`` (at least 9 times in train and val: 3,129
    answers); that file has another order.

    Raises:
        VocabularyError: no answer is frequent enough.
    """
    counts: Counter[str] = Counter()
    for table in tables:
        answers = table.answers_of(np.arange(len(table)))
        main = answers.rows[np.unique(answers.positions, return_index=True)[1]]
        texts = table.answer_texts
        rows, times = np.unique(main, return_counts=True)
        for row, n in zip(rows, times, strict=True):
            counts[texts[row]] += int(n)
    del counts[""]
    kept = [answer for answer, count in counts.items() if count >= min_count]
    if not kept:
        raise VocabularyError(
            f"minimum count {min_count}: none of the {len(counts):,} answers occurs that often; "
            "expected at least one. Lower it (--min-count, answer_min_count)"
        )
    return sorted(kept, key=lambda answer: (-counts[answer], answer))
