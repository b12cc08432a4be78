"""Scores of predictions: over a split, and over each group of its questions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.prediction.rules import SCORES
from clipvil_mmf.prediction.selective import Selective, selective
from clipvil_mmf.prediction.truth import Truths


@dataclass
class Mean:
    """A score and the number of questions behind it."""

    questions: int = 0
    total: float = 0.0  # the sum of their scores, each in [0, 1]

    def add(self, score: float) -> None:
        """Count one more question."""
        self.questions += 1
        self.total += score

    @property
    def percent(self) -> float:
        """The mean in percent, with two decimals as in the official evaluation; 0 for none."""
        return round(100 * self.total / self.questions, 2) if self.questions else 0.0


@dataclass
class Scores:
    """The scores of a prediction file."""

    rule: str  # how an answer is scored (``clipvil_mmf.prediction.rules``)
    overall: Mean = field(default_factory=Mean)
    groups: dict[str, dict[str, Mean]] = field(default_factory=dict)  # kind of group -> name
    missing: int = 0  # questions without a prediction
    left_out: int = 0  # predictions for questions that the official evaluation does without
    in_vocabulary: Mean | None = None  # over the questions with an answer in the vocabulary
    # Over the sentences of NLVR2: right are those that are judged right for all of their images.
    consistency: Mean | None = None
    selective: Selective | None = None  # of the answers that have a confidence
    best_of_top: Mean | None = None  # if the best of a question's further answers counted


def score_predictions(
    predictions: Mapping[int | str, str],
    truths: Truths,
    vocabulary: Collection[str] | None = None,
    confidences: Mapping[int | str, float] | None = None,
    top: Mapping[int | str, Sequence[str]] | None = None,
) -> Scores:
    """Score predictions (question id -> answer) against the ground truth of a split.

    A question without a prediction counts 0 and stays in the denominator, and so does one without
    an answer in ``vocabulary``, the model's answers. The published GQA code (``gqa_data.py`` of
    CLIP-ViL) drops the latter from its validation data, which gives ``in_vocabulary``.
    ``confidences`` (question id -> [0, 1]) give ``selective``, and ``top`` (question id -> answers)
    ``best_of_top``.
    """
    scores = Scores(truths.rule)
    known = None if vocabulary is None else frozenset(vocabulary)
    scores.in_vocabulary = None if known is None else Mean()
    scores.best_of_top = Mean() if top else None
    together: dict[str, float] = {}
    sure: list[tuple[float, float]] = []
    for truth in truths:
        prediction = predictions.get(truth.question_id)
        if prediction is None:
            scores.missing += 1
            value = 0.0
        else:
            value = SCORES[truths.rule](prediction, truth.answers)
            if confidences and truth.question_id in confidences:
                sure.append((confidences[truth.question_id], value))
        scores.overall.add(value)
        if top:
            others = top.get(truth.question_id, ())
            found = (SCORES[truths.rule](answer, truth.answers) for answer in others)
            scores.best_of_top.add(max(found, default=value))
        for kind, name in truth.groups.items():
            scores.groups.setdefault(kind, {}).setdefault(name, Mean()).add(value)
        if known is not None and not known.isdisjoint(truth.answers):
            scores.in_vocabulary.add(value)
        if truth.sentence:
            together[truth.sentence] = min(together.get(truth.sentence, 1.0), value)
    if together:
        scores.consistency = Mean(len(together), sum(together.values()))
    scores.selective = selective(*zip(*sure, strict=True)) if sure else None
    scores.left_out = sum(key in predictions for key in truths.left_out)
    return scores


def score(
    predictions: Mapping[int | str, str], table: QuestionTable, chosen: bool = False
) -> float | None:
    """The overall score in [0, 1], or ``None`` if the answers are not known; see ``Truths``."""
    if not table.is_labelled:
        return None
    overall = score_predictions(predictions, Truths(table, chosen)).overall
    return overall.total / overall.questions if overall.questions else 0.0
