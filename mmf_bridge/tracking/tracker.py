"""What a tracker is told of a run, and what it has to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mmf_bridge.common.near import did_you_mean

if TYPE_CHECKING:
    from PIL import Image

KEY = "training.trackers"


@dataclass(frozen=True)
class TrackedRun:
    """A run as it begins or goes on."""

    project: str
    name: str
    folder: Path  # env.save_dir
    config: Mapping[str, Any]  # the whole configuration, without secrets
    params: Mapping[str, Any] = field(default_factory=dict)  # training.trackers.params.<tracker>
    id: str | None = None  # `Tracker.id` of the run that this one goes on with; None: a new run
    writer: Any = None  # MMF's TensorboardLogger, where training.tensorboard is on


class Tracker:
    """Takes down a run somewhere; made by rank 0 once model and data are loaded.

    An error of any method is a line in the log and never ends the run.
    """

    # What has to be importable, and what to `pip install` for it.
    package: ClassVar[str | None] = None
    install: ClassVar[str | None] = None
    # By what the same run is found again when it is resumed; None: by nothing.
    id: str | None = None
    # Where to look at the run, for the console.
    place: str = ""

    def __init__(self, run: TrackedRun) -> None:
        self.run = run

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        """Take figures of an update, such as ``train/total_loss``."""
        raise NotImplementedError

    def picture(self, name: str, picture: Image.Image, step: int) -> None:
        """Take a picture of predictions, RGB, after this update."""
        raise NotImplementedError

    def summary(self, figures: Mapping[str, float | int | str]) -> None:
        """Take what has come of the run: its best score, costs."""
        raise NotImplementedError

    def close(self, is_complete: bool) -> None:
        """End it; ``is_complete`` is False where the run was interrupted or has failed."""


def check_params(
    name: str, params: Mapping[str, Any], function: Callable[..., Any], but: tuple[str, ...] = ()
) -> None:
    """Raise a ``ValueError`` for a param that a tracker's function does not take.

    ``but``: arguments that the tracker gives itself.
    """
    known = [argument for argument in inspect.signature(function).parameters if argument not in but]
    for key in params:
        if key not in known:
            raise ValueError(
                f"{KEY}.params.{name}.{key}: unknown key.{did_you_mean(key, known)} "
                f"Choices: {', '.join(known)}"
            )
