"""What is asked of a sample: its labels, targets, loss, metric and prediction rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from clipvil_mmf.config import ConfigError

if TYPE_CHECKING:  # the commands that check prediction files start without torch
    from torch import Tensor

# What `targets` of a batch are.
SOFT = "soft scores"  # (B, labels) float32 in [0, 1]
CLASSES = "classes"  # (B,) int64, -1 for none

# The targets that losses and metrics take, by their names in MMF; one that is not here is taken.
LOSSES: Mapping[str, str] = {
    "logit_bce": SOFT,
    "clipvil_bce": SOFT,
    "clipvil_mce": SOFT,
    "bce": SOFT,
    "weighted_softmax": SOFT,
    "softmax_kldiv": SOFT,
    "clipvil_cross_entropy": CLASSES,
    "cross_entropy": CLASSES,
}
METRICS: Mapping[str, str] = {"vqa_score": SOFT, "vqa_accuracy": SOFT}


class LabelPairs(Protocol):
    """The labels of a batch's samples, a pair of a sample and a label each."""

    positions: np.ndarray  # (M,) int64, which sample of the batch; in ascending order
    rows: np.ndarray  # (M,) int64, which label, a row of the head
    scores: np.ndarray  # (M,) float32 in (0, 1], the main label of a sample first


class Task:
    """A task: what data, model and prediction files have to know of what is asked.

    A task is one file with a dataclass of its ``params`` and a subclass of this, and a line in
    ``tasks.TASKS``. It sees arrays and tensors alone. ``config`` is its checked ``params``.
    """

    # Its key in ``TASKS``; ``build_task`` sets it.
    name: str
    # ``SOFT`` or ``CLASSES``.
    target_kind: ClassVar[str]
    # The loss of MMF that a run has unless it names others; ``clipvil_task`` is ``loss`` itself.
    default_loss: ClassVar[str] = "clipvil_task"
    # The metric of MMF that a run is judged by unless it names others.
    default_metric: ClassVar[str]
    # The names of the sample's id and of its label in a row of a prediction file.
    row_fields: ClassVar[tuple[str, str]]
    # The name of the sample's choice in a row, where samples have choices, which `prediction_rows`
    # is then given too.
    choice_field: ClassVar[str | None] = None
    # The name of a number in [0, 1] that rows may have in the label's place.
    number_field: ClassVar[str | None] = None
    # Whether a leaderboard server takes such a file.
    has_server: ClassVar[bool] = False
    # Whether a prediction file is CSV without a header in place of JSON.
    writes_csv: ClassVar[bool] = False
    # How many images a sample has.
    images_per_sample: ClassVar[int] = 1
    # Whether these are joined into one picture, the first on the left; else the network reads the
    # text once with each of them, and the head takes the pooled outputs side by side.
    joins_images: bool = False
    # Whether it trains on sentences that are masked and exchanged (``data/pretraining.py``), by the
    # losses of ``pretraining.py``.
    pretrains: ClassVar[bool] = False
    # Whether the network has a head for the labels.
    has_head: bool = True
    # The labels, where the task itself says them; None: a file, or the training labels.
    labels: Sequence[str] | None = None

    def __init__(self, config: Any) -> None:
        self.config = config

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.config == other.config  # type: ignore[attr-defined]

    @property
    def passes(self) -> int:
        """How often the network reads the text of a sample, each time with another picture."""
        return 1 if self.joins_images else self.images_per_sample

    def order_labels(self, labels: Sequence[str]) -> list[str]:
        """The rows of the head of the labels in the training data, the most frequent first."""
        return list(labels)

    def targets(self, pairs: LabelPairs, samples: int, labels: int) -> np.ndarray:
        """The targets of a batch of B ``samples``, of which some may have no labels.

        Returns:
            (B, labels) float32 or (B,) int64, by ``target_kind``.
        """
        raise NotImplementedError(f"{type(self).__name__}.targets: a task makes its targets here.")

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """() float32, what ``default_loss`` computes of the network's ``scores`` (B, labels)."""
        raise NotImplementedError(f"{type(self).__name__}.loss: a task says its loss here.")

    def probabilities(self, scores: Tensor) -> Tensor:
        """(B, labels) scores of the network -> (B, labels) in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__}.probabilities: a task says them here.")

    def prediction_rows(
        self, ids: Sequence[int | str], scores: Tensor, labels: Sequence[str]
    ) -> list[dict[str, Any]]:
        """The rows of a prediction file: of each of B samples its id and its best label.

        ``scores`` are (B, labels), of any float dtype.
        """
        id_field, label_field = self.row_fields
        best = scores.argmax(dim=1).tolist()
        return [
            {id_field: key, label_field: labels[row]} for key, row in zip(ids, best, strict=True)
        ]

    def prediction_file(self, rows: list[dict[str, Any]]) -> Any:
        """The content of a prediction file with the rows of all samples: a list, or an object."""
        return rows

    def check_losses(self, names: Collection[str], key: str) -> None:
        """Raise ``ConfigError`` unless MMF's losses, which ``key`` names, fit the targets."""
        self._check(names, key, LOSSES, self.default_loss)

    def check_metrics(self, names: Collection[str], key: str) -> None:
        """As ``check_losses``, for metrics."""
        self._check(names, key, METRICS, self.default_metric)

    def _check(self, names: Collection[str], key: str, known: Mapping[str, str], own: str) -> None:
        fitting = [name for name, kind in known.items() if kind == self.target_kind]
        for name in names:
            if name != own and known.get(name, self.target_kind) != self.target_kind:
                choices = ", ".join(dict.fromkeys([own, *fitting]))
                raise ConfigError(
                    f"{key}: {name} is for targets that are {known[name]}, but those of the task "
                    f"{self.name} are {self.target_kind}. Choices: {choices}."
                )
