"""Questions as MMF's own VQA data set reads them, with the names of their features."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipvil_mmf.atomic import replacing
from clipvil_mmf.data.table import QuestionTable

FOLDER = "annotations"
WORDS, ANSWERS = "words.txt", "answers.txt"
_ANNOTATORS = 10  # MMF's answer_processor counts so many
_WORD = re.compile(r"[a-z0-9']+")
_LARGEST = 2**31  # of the numbers that MMF puts into its batches


def write_questions(table: QuestionTable, file: Path) -> None:
    """Write the questions of a split: an npy file with a row a question, the first a header.

    Of soft scores the answers of ten annotators are made that MMF scores nearly so.
    """
    rows: list[dict[str, Any]] = [{"version": 1, "dataset_name": "vqa2"}]
    given: Iterable[Sequence[str] | None] = [None] * len(table)
    if table.is_labelled:
        given = table.annotators() or map(_ten_answers, table.labels())
    for question, answers in zip(table, given, strict=True):
        name = Path(question.image).stem
        number = name.rsplit("_", 1)[-1]
        is_number = number.isdecimal() and int(number) < _LARGEST
        row = {
            "question_id": question.question_id,
            "question_str": question.text,
            "question_tokens": _tokens(question.text),
            "image_id": int(number) if is_number else name,
            "image_name": name,
            "feature_path": f"{name}.npy",
        }
        if answers is not None:
            row["answers"] = list(answers)
        rows.append(row)
    with replacing(file) as partial:
        np.save(partial, np.array(rows, dtype=object), allow_pickle=True)


def write_vocabularies(
    tables: Sequence[QuestionTable], labels: Sequence[str], folder: Path
) -> None:
    """Write the words of the questions, most frequent first, and the answers after ``<unk>``.

    MMF counts answers from the row after ``<unk>``. Files that are there stay as they are: models
    were trained with them.
    """
    words = Counter(word for table in tables for text in table.texts() for word in _tokens(text))
    lines = {
        WORDS: sorted(words, key=lambda word: (-words[word], word)),
        ANSWERS: ["<unk>", *labels],
    }
    for name, content in lines.items():
        if not (folder / name).is_file():
            with replacing(folder / name) as partial:
                partial.write_text("".join(f"{line}\n" for line in content), encoding="utf-8")


def _tokens(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ten_answers(label: Mapping[str, float]) -> list[str]:
    """What ten annotators may have said: MMF scores an answer of n of them by n / 3, at most 1."""
    counts = {answer: round(3 * score) for answer, score in label.items()}
    said = [answer for answer, count in counts.items() for _ in range(count)][:_ANNOTATORS]
    first = next(iter(label), "")
    return said + [first] * (_ANNOTATORS - len(said))
