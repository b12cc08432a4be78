"""``training.{log,evaluation,checkpoint}_interval``: numbers of updates, or ``auto``.

``auto`` (or null) follows the run's length: at least ten log lines, an evaluation an epoch, and a
checkpoint with it or every 500 updates.
"""

from __future__ import annotations

from typing import Any

from omegaconf import read_write

from mmf_bridge.common.run_length import RunLength

AUTO = "auto"
_LOG, _EVALUATION, _CHECKPOINT = KEYS = (
    "log_interval",
    "evaluation_interval",
    "checkpoint_interval",
)
_LOG_LINES, _MOST_BETWEEN_LOGS, _MOST_BETWEEN_CHECKPOINTS = 10, 100, 500


def set_intervals(training: Any, run: RunLength) -> dict[str, Any]:
    """Put numbers of updates in the place of ``auto``.

    Args:
        training: MMF's ``training`` section; changed in place.
        run: the run's length.

    Returns:
        What was written there, of the keys that were changed.

    Raises:
        ValueError: the evaluation interval is ``auto``, but an epoch has no length.
    """
    written = {key: training[key] for key in KEYS if training[key] in (None, AUTO)}
    with read_write(training):
        if _LOG in written:
            training[_LOG] = max(1, min(_MOST_BETWEEN_LOGS, run.max_updates // _LOG_LINES))
        if _EVALUATION in written:
            if run.updates_per_epoch is None:
                raise ValueError(
                    f"training.{_EVALUATION} is {written[_EVALUATION]}, an evaluation an epoch, "
                    "but the data have no length: give a number of updates"
                )
            training[_EVALUATION] = max(1, run.updates_per_epoch)
        if _CHECKPOINT in written:
            training[_CHECKPOINT] = min(_MOST_BETWEEN_CHECKPOINTS, training[_EVALUATION])
    return written


def described(training: Any, written: dict[str, Any]) -> str:
    """What :func:`set_intervals` chose, in one line."""
    return "In updates: " + ", ".join(f"training.{key} {training[key]}" for key in written)
