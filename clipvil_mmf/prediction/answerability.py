"""VizWiz's second challenge: how well numbers tell which questions cannot be answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.prediction.submission import SubmissionError

RULE = "VizWiz answerability: of the questions that cannot be answered"


@dataclass(frozen=True)
class Answerability:
    """In percent with two decimals, as the official evaluation has them."""

    average_precision: float
    f1: float
    questions: int


def score_answerability(
    predictions: Mapping[int | str, float], table: QuestionTable
) -> Answerability:
    """Score image -> how likely its question can be answered, in [0, 1].

    Both figures are of the class of questions that cannot be answered, by 1 - the number; F1 takes
    it above 0.5. Source: ``evaluate_unanswerability`` of VizWiz's API.

    Raises:
        AnnotationError: it is not known which questions can be answered.
        SubmissionError: questions without a number, which the official evaluation refuses.
    """
    from sklearn.metrics import average_precision_score, f1_score

    known = table.kinds().get("answerable")
    if known is None:
        raise AnnotationError(
            f"{table.source}: it does not say which questions can be answered; expected a labelled "
            "split of VizWiz"
        )
    ids = table.ids()
    missing = [key for key in ids if key not in predictions]
    if missing:
        raise SubmissionError(
            f"{len(missing):,} of {len(ids):,} questions have no number, the first is "
            f"{missing[0]!r}; expected one for each"
        )
    cannot = np.array([name == "no" for name in known])
    given = 1.0 - np.array([predictions[key] for key in ids], dtype=float)
    return Answerability(
        round(100 * float(average_precision_score(cannot, given)), 2),
        round(100 * float(f1_score(cannot, given > 0.5, zero_division=0)), 2),
        len(ids),
    )
