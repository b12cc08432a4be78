"""Vocabularies of labels, made of those of a dataset. Needs no MMF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from clipvil_mmf.data.table import QuestionTable


class VocabularyError(ValueError):
    """Labels of which no vocabulary can be made."""


def build_labels(tables: Iterable[QuestionTable], min_count: int) -> list[str]:
    """The main labels of enough samples: the most frequent first, then by letter.

    For VQA v2 the main answer is the normalised ``multiple_choice_answer``. Source of the rule: the
    preprocessing behind ``trainval_label2ans.json`` (at least 9 times in train and val: 3,129
    answers); that file has another order. No frequent label is a ``VocabularyError``.
    """
    counts: Counter[str] = Counter()
    for table in tables:
        soft = table.answers_of(np.arange(len(table)))
        main = soft.rows[np.unique(soft.positions, return_index=True)[1]]
        texts = table.answer_texts
        counts.update(texts[row] for row in main.tolist())
    del counts[""]
    kept = [label for label, count in counts.items() if count >= min_count]
    if not kept:
        raise VocabularyError(
            f"minimum count {min_count}: none of the {len(counts):,} answers occurs that often; "
            "expected at least one. Lower it (--min-count, answer_min_count)"
        )
    return sorted(kept, key=lambda label: (-counts[label], label))
