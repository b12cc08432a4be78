"""The task ``entailment``: an image and a sentence belong to one of k classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from clipvil_mmf.config import ConfigError
from clipvil_mmf.tasks.classes import ClassTask


@dataclass
class EntailmentConfig:
    """``params`` of the task ``entailment``."""

    # The classes, in the order of the head's rows; null for those of the training data, sorted.
    labels: list[str] | None = None

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        doubled = [label for label, count in Counter(self.labels).items() if count > 1]
        if len(self.labels) < 2 or doubled:
            what = f"{doubled[0]!r} twice" if doubled else f"{len(self.labels)} of them"
            raise ConfigError(f"labels: got {what}, expected two classes or more, each once.")


class Entailment(ClassTask):
    """Visual entailment (SNLI-VE, arXiv 1901.06706), and any other choice of one class."""

    default_loss = "clipvil_cross_entropy"
    default_metric = "accuracy"
    row_fields = ("id", "label")

    def __init__(self, config: EntailmentConfig) -> None:
        super().__init__(config)
        self.labels = config.labels

    def order_labels(self, labels: Sequence[str]) -> list[str]:
        """Sorted, so that the order does not depend on counts; a ``ConfigError`` below two."""
        if len(labels) < 2:
            raise ConfigError(
                f"task: the training data have {len(labels)} classes ({', '.join(labels)}), "
                "expected two or more. Add samples of another class, or name the classes in "
                "task.params.labels."
            )
        return sorted(labels)
