"""VQA's soft labels of what annotators answered, of many questions at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from clipvil_mmf.data.vqa_normalize import leave_one_out, normalize_answer


def soft_labels(
    given: pa.DictionaryArray, people: np.ndarray, main: Sequence[str]
) -> tuple[np.ndarray, pa.DictionaryArray, np.ndarray]:
    """``vqa_normalize.soft_scores`` of N questions, the surest answer of each first.

    Args:
        given: (E,) what was answered, as written, question by question.
        people: (N,) integers, how many answered each question.
        main: N answers, normalised; where a question has its own, it comes first.

    Returns:
        (N,) int64 how many different answers each question has, (M,) these answers, normalised,
        and (M,) float32 their scores.
    """
    numbers: dict[str, int] = {}
    spellings = [
        numbers.setdefault(normalize_answer(text), len(numbers))
        for text in given.dictionary.to_pylist()
    ]
    answers = np.asarray(spellings)[given.indices.to_numpy()]
    rows = np.repeat(np.arange(len(people)), people)
    pairs, first, counts = np.unique(
        rows * len(numbers) + answers, return_index=True, return_counts=True
    )
    rows, answers = np.divmod(pairs, len(numbers))
    # Of Python's floats, as everywhere: answers of the same score keep their order.
    found = map(leave_one_out, counts.tolist(), people[rows].tolist())
    scores = np.fromiter(found, np.float64, len(pairs))
    mains = np.asarray([numbers.get(answer, -1) for answer in main])
    order = np.lexsort((first, -scores, answers != mains[rows], rows))
    texts = pa.array(answers[order], pa.int32()).dictionary_encode()  # by first occurrence
    names = pa.array(list(numbers), pa.string()).take(texts.dictionary)
    return (
        np.bincount(rows, minlength=len(people)),
        pa.DictionaryArray.from_arrays(texts.indices, names),
        scores[order].astype(np.float32),
    )
