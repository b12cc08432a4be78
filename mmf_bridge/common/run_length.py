"""The length of a run: how its micro-batches form updates, and what happens after how many.

``training.leftover_batches`` says what becomes of micro-batches that do not fill an update of
``training.update_frequency`` at the end of an epoch:

* ``step`` (default, as MMF main does): they make an update of their own, averaged over themselves;
* ``carry``: they join the first update of the next epoch, each divided by ``update_frequency``
  (CLIP-ViL's published training); those of the last epoch, which no update follows, are left out;
* ``drop``: they are left out.

``training.{log,evaluation,checkpoint}_interval`` are numbers of updates, or ``auto`` (or null): at
least ten log lines, an evaluation an epoch, and a checkpoint with it or every 500 updates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import read_write

LEFTOVERS = ("step", "carry", "drop")
AUTO = "auto"
KEYS = ("log_interval", "evaluation_interval", "checkpoint_interval")


@dataclass(frozen=True)
class RunLength:
    """The length of a run; registered with MMF as ``run_length`` before its scheduler is built."""

    batches_per_epoch: int | None  # micro-batches of one process; None for a stream of samples
    max_updates: int
    update_frequency: int = 1  # micro-batches of an update
    leftover_batches: str = "step"
    max_epochs: int | None = None  # None where max_updates was given

    @classmethod
    def of(cls, training: Any, batches_per_epoch: int | None) -> RunLength:
        """Read MMF's ``training`` section; ``max_epochs`` goes before ``max_updates``.

        Raises:
            ValueError: neither length is given, or the epoch is too short for an update.
        """
        frequency, leftover = training.update_frequency, training.leftover_batches
        if batches_per_epoch and leftover != "step" and batches_per_epoch < frequency:
            raise ValueError(
                f"An epoch has {batches_per_epoch} micro-batches, fewer than "
                f"training.update_frequency={frequency}: with training.leftover_batches={leftover} "
                "there would be no update. Use step, or a lower update_frequency"
            )
        run = cls(batches_per_epoch, training.max_updates, frequency, leftover)
        if batches_per_epoch is not None and training.max_epochs is not None:
            updates = run.updates_per_epoch * training.max_epochs
            return replace(run, max_updates=updates, max_epochs=training.max_epochs)
        if training.max_updates is None:
            raise ValueError(
                "Set training.max_updates or training.max_epochs"
                if batches_per_epoch is not None
                else "A dataset without a length needs training.max_updates"
            )
        return run

    @property
    def updates_per_epoch(self) -> int | None:
        """Updates that an epoch ends; None where its length is unknown."""
        if self.batches_per_epoch is None:
            return None
        if self.leftover_batches == "step":
            return math.ceil(self.batches_per_epoch / self.update_frequency)
        return self.batches_per_epoch // self.update_frequency

    @property
    def used_batches(self) -> int | None:
        """Micro-batches of an epoch that are computed."""
        if self.leftover_batches == "drop" and self.batches_per_epoch is not None:
            return self.updates_per_epoch * self.update_frequency
        return self.batches_per_epoch

    @property
    def scheduled_updates(self) -> int:
        """Where a schedule that lasts the whole run ends.

        With ``carry`` and ``max_epochs`` that is the number of updates that all micro-batches
        would fill, as published: a few more than the run makes, if some are left over each epoch.
        """
        if self.leftover_batches == "carry" and self.max_epochs is not None:
            return self.updates_in(self.max_epochs)
        return self.max_updates

    def updates_in(self, epochs: int) -> int:
        """The number of updates that the micro-batches of so many epochs fill.

        Raises:
            ValueError: the data have no length.
        """
        if self.batches_per_epoch is None:
            raise ValueError(f"{epochs} epochs of data without a length: give a number of updates")
        if self.leftover_batches == "carry":
            return self.batches_per_epoch * epochs // self.update_frequency
        return self.updates_per_epoch * epochs

    def divisor(self, position: int) -> int:
        """What the loss of micro-batch ``position`` of an epoch (from 0) is divided by."""
        if self.leftover_batches != "step" or self.batches_per_epoch is None:
            return self.update_frequency
        start = position - position % self.update_frequency
        return min(self.update_frequency, self.batches_per_epoch - start)

    def finishes(self, done: int) -> bool:
        """Whether an update is due when ``done`` micro-batches of the epoch have been computed."""
        if done % self.update_frequency == 0:
            return True
        return self.leftover_batches == "step" and done == self.batches_per_epoch


def set_intervals(training: Any, run: RunLength) -> dict[str, Any]:
    """Put numbers of updates in the place of ``auto`` in MMF's ``training`` section.

    Returns:
        What was written there, of the keys that were changed.

    Raises:
        ValueError: the evaluation interval is ``auto``, but an epoch has no length.
    """
    written = {key: training[key] for key in KEYS if training[key] in (None, AUTO)}
    with read_write(training):
        if "log_interval" in written:
            training.log_interval = max(1, min(100, run.max_updates // 10))
        if "evaluation_interval" in written:
            if run.updates_per_epoch is None:
                raise ValueError(
                    f"training.evaluation_interval is {written['evaluation_interval']}, an "
                    "evaluation an epoch, but the data have no length: give a number of updates"
                )
            training.evaluation_interval = max(1, run.updates_per_epoch)
        if "checkpoint_interval" in written:
            training.checkpoint_interval = min(500, training.evaluation_interval)
    return written
