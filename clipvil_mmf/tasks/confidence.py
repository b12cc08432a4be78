"""Confidence and further answers in the rows of prediction files: the section ``prediction``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipvil_mmf.config import ConfigError, check_at_least, from_config

if TYPE_CHECKING:
    from torch import Tensor

    from clipvil_mmf.tasks.task import Task

# Fields of a row: the confidence of its label, and of its choice where it has one, as the task's
# ``probabilities`` have it; null for what is not among the model's labels.
CONFIDENCE, CHOICE_CONFIDENCE = "confidence", "choice_confidence"
# The best labels with their confidence, [[label, confidence], ...], the best first.
TOP = "top_answers"
FIELDS = (CONFIDENCE, CHOICE_CONFIDENCE, TOP)
_DIGITS = 6


@dataclass
class PredictionParams:
    """The section ``prediction`` of a yaml file."""

    # Write how sure the model is of each answer, a number in [0, 1], beside it.
    confidence: bool = False
    # Write this many answers with their confidence, the best first; 1 writes the best one alone.
    top_k: int = 1

    def __post_init__(self) -> None:
        check_at_least("top_k", self.top_k, 1)

    @property
    def adds_fields(self) -> bool:
        """Whether rows get fields that a leaderboard file does not have."""
        return self.confidence or self.top_k > 1


def prediction_params(config: Mapping[str, Any], task: Task) -> PredictionParams:
    """The checked section of a run's whole configuration.

    Raises:
        ConfigError: a bad key or value; or the task's, or the run's, prediction file is CSV.
    """
    params = from_config(PredictionParams, config.get("prediction"), "prediction")
    if not params.adds_fields:
        return params
    given = "prediction.confidence and prediction.top_k"
    if task.writes_csv:
        raise ConfigError(
            f"{given}: the task {task.name} writes CSV, an id and a label a line, which has no "
            "room for more; set them to false and 1."
        )
    # The second key is that of MMF main's reporters.
    reporter = (config.get("evaluation") or {}).get("reporter") or {}
    formats = (
        (config.get("evaluation") or {}).get("predict_file_format"),
        (reporter.get("params") or {}).get("predict_file_format"),
    )
    if "csv" in formats:
        raise ConfigError(
            f"{given}: evaluation.predict_file_format is csv, which has no room for lists; set it "
            "to json."
        )
    return params


def add_confidence(
    rows: Sequence[dict[str, Any]],
    scores: Tensor,
    labels: Sequence[str],
    task: Task,
    params: PredictionParams,
) -> None:
    """Add the fields to the rows of B samples.

    Args:
        rows: as ``task.prediction_rows`` gives them, one a sample.
        scores: (B, labels) of the network, of any float dtype.
        labels: the rows of the head.
        task: it says what the scores mean, and the names of the fields.
        params: which fields.

    Raises:
        ConfigError: the rows have no label that a confidence could be of.
    """
    probabilities = task.probabilities(scores.float())
    if params.confidence:
        places = {label: place for place, label in enumerate(labels)}
        fields = [(task.row_fields[1], CONFIDENCE), (task.choice_field, CHOICE_CONFIDENCE)]
        for field, name in fields[: 1 if task.choice_field is None else 2]:
            if any(field not in row for row in rows):
                raise ConfigError(
                    f"prediction.confidence: the rows of the task {task.name} have no {field!r} "
                    "that it could be of; set it to false."
                )
            found = [places.get(row[field]) for row in rows]
            rows_of = [place or 0 for place in found]
            chosen = probabilities[range(len(rows)), rows_of].tolist()
            for row, place, value in zip(rows, found, chosen, strict=True):
                row[name] = None if place is None else round(value, _DIGITS)
    if params.top_k > 1:
        best = probabilities.topk(min(params.top_k, len(labels)))
        for row, *found in zip(rows, best.indices.tolist(), best.values.tolist(), strict=True):
            row[TOP] = [[labels[k], round(v, _DIGITS)] for k, v in zip(*found, strict=True)]
