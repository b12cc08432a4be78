"""How an answer is scored: the rule of each data set, a function of an answer and what is right.

Imports the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clipvil_mmf.data.vqa_normalize import leave_one_out, normalize_answer
from clipvil_mmf.prediction.vqa_accuracy import vqa_accuracy

OFFICIAL_VQA = "official VQA accuracy, ten annotators"
VIZWIZ = "VizWiz accuracy, ten annotators"
EXACT = "exact match (GQA)"
NORMALIZED = "exact match, normalised as by the official VQA evaluation"
CLASS = "accuracy, one class each"
LABEL = "score of the answer in the label"
DIRECT_ANSWER = "A-OKVQA, direct answers: min(1, matches / 3)"
MULTIPLE_CHOICE = "A-OKVQA, multiple choice"
ANLS = "average normalised Levenshtein similarity (ST-VQA)"


def vizwiz_accuracy(prediction: str, annotators: tuple[str, ...]) -> float:
    """As the official VQA accuracy, but the prediction alone is normalised, and always.

    Source: ``vqaEval.py`` of VizWiz's API. Its contractions have typographic apostrophes, which its
    answers do not; here they are straight ones.
    """
    return leave_one_out(annotators.count(normalize_answer(prediction)), len(annotators))


def normalized_match(prediction: str, label: Mapping[str, float]) -> float:
    """The score of the normalised answer in a label of normalised answers."""
    return label.get(normalize_answer(prediction), 0.0)


def anls(prediction: str, label: Mapping[str, float]) -> float:
    """The similarity to the nearest right answer, 0 below a half; case does not count.

    Similarity is 1 - edit distance / length of the longer one. Source: arXiv 1905.13648.
    """
    given = prediction.lower().strip()
    best = max((_similarity(given, answer) for answer in label), default=0.0)
    return best if best >= 0.5 else 0.0


def in_label(prediction: str, label: Mapping[str, float]) -> float:
    """The score of the answer in the label, to the letter."""
    return label.get(prediction, 0.0)


# Rule -> the score in [0, 1] of an answer: the first two of what each annotator answered, as
# written, the others of {answer: score}.
SCORES: Mapping[str, Callable[[str, Any], float]] = {
    OFFICIAL_VQA: vqa_accuracy,
    VIZWIZ: vizwiz_accuracy,
    EXACT: in_label,
    NORMALIZED: normalized_match,
    CLASS: in_label,
    LABEL: in_label,
    DIRECT_ANSWER: in_label,
    MULTIPLE_CHOICE: in_label,
    ANLS: anls,
}
OF_ANNOTATORS = (OFFICIAL_VQA, VIZWIZ)


def _similarity(one: str, other: str) -> float:
    longest = max(len(one), len(other))
    return 1 - _edit_distance(one, other) / longest if longest else 1.0


def _edit_distance(one: str, other: str) -> int:
    """Levenshtein's: how many letters have to be added, left out or changed."""
    costs = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        previous, costs = costs, [row]
        for column, wanted in enumerate(other, 1):
            change = previous[column - 1] + (letter != wanted)
            costs.append(min(change, previous[column] + 1, costs[-1] + 1))
    return costs[-1]
