"""The score of predictions: mean over the questions of the label of the predicted answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clipvil_mmf.data.annotations import Question


def score(predictions: Mapping[int | str, str], questions: Sequence[Question]) -> float | None:
    """Score predictions as VQA and GQA do, with soft labels.

    A question without a prediction, and one whose prediction is no answer of its label, counts 0:
    the denominator is the number of questions.

    Args:
        predictions: question id -> answer.
        questions: of the split.

    Returns:
        the accuracy in [0, 1], or ``None`` if the answers of some question are not known.
    """
    if any(question.answers is None for question in questions):
        return None
    total = sum(
        question.answers.get(predictions.get(question.question_id, ""), 0.0)
        for question in questions
        if question.answers is not None
    )
    return total / len(questions)
