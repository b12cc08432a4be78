"""What confidences are worth: calibration, and the accuracy of the surest answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RISKS = (1, 5, 10, 20)  # percent
COVERAGES = (25, 50, 75)  # percent
_BINS = 15


@dataclass(frozen=True)
class Selective:
    """How confidences and scores of answers belong together; all but the first in percent."""

    questions: int  # with an answer that has a confidence
    mean_confidence: float
    # Mean distance of confidence and accuracy in 15 equal bins (Guo et al., arXiv 1706.04599).
    calibration_error: float
    # Area under the risk-coverage curve: the mean, over k, of what the k surest answers lack to
    # 100 (Geifman et al., arXiv 1805.08206).
    risk_coverage_area: float
    # Risk -> the largest share of questions that can be answered so that the answers given lack no
    # more than this to 100 (C@R of Whitehead et al., arXiv 2204.13631).
    coverage_at_risk: dict[int, float]
    accuracy_at_coverage: dict[int, float]  # share of questions -> accuracy of the surest of them


def selective(confidences: Sequence[float], scores: Sequence[float]) -> Selective:
    """Judge the confidences of N answers, at least one, by their scores; both in [0, 1].

    Answers of one confidence count with their mean score: their order says nothing.
    """
    given, right = np.asarray(confidences, np.float64), np.asarray(scores, np.float64)
    _, level_of, counts = np.unique(-given, return_inverse=True, return_counts=True)
    level_of = level_of.reshape(-1)
    means = np.bincount(level_of, right) / counts
    # Of the k surest answers, k = 1 ... N.
    answered = np.arange(1, len(given) + 1)
    accuracy = np.cumsum(np.repeat(means, counts)) / answered
    # A threshold takes all answers of a confidence, or none.
    ends = np.cumsum(counts) - 1

    def coverage(risk: int) -> float:
        kept = ends[1 - accuracy[ends] <= risk / 100 + 1e-9]
        return 100 * float(kept[-1] + 1) / len(given) if len(kept) else 0.0

    bins = np.minimum((given * _BINS).astype(int), _BINS - 1)
    gaps = np.abs(np.bincount(bins, given - right))
    return Selective(
        questions=len(given),
        mean_confidence=_percent(given.mean()),
        calibration_error=_percent(gaps.sum() / len(given)),
        risk_coverage_area=_percent((1 - accuracy).mean()),
        coverage_at_risk={risk: round(coverage(risk), 2) for risk in RISKS},
        accuracy_at_coverage={
            share: _percent(accuracy[max(1, round(len(given) * share / 100)) - 1])
            for share in COVERAGES
        },
    )


def _percent(value: float) -> float:
    return round(100 * float(value), 2)
