"""The trackers of a run together: begun, told, ended, and never the end of a run."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mmf_bridge.common.console import labelled
from mmf_bridge.common.run_report import read_report
from mmf_bridge.common.whole_files import whole_file
from mmf_bridge.tracking.secrets import without_secrets
from mmf_bridge.tracking.settings import class_of, names_in_use
from mmf_bridge.tracking.tracker import TrackedRun, Tracker

logger = logging.getLogger(__name__)

IDS = "trackers.json"  # in env.save_dir: tracker -> what it finds the run by
# Of `run_report.json`.
_COSTS = (
    *("trainable", "total", "peak_memory_bytes", "seconds", "updates", "seconds_per_update"),
    *("seconds_per_prediction", "multiply_adds"),
)
_PATIENCE = 3  # errors in a row after which a tracker is left alone


class Trackers:
    """The trackers of a run by name; none of them where it has none, or on other ranks."""

    def __init__(self, trackers: Mapping[str, Tracker] | None = None) -> None:
        self._trackers = dict(trackers or {})
        self._failures: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._trackers)

    def scalars(self, figures: Mapping[str, Any], step: int) -> None:
        """Tell the figures of an update."""
        plain = {name: float(value) for name, value in figures.items()} if self else {}
        self._tell("figures", lambda tracker: tracker.scalars(plain, step))

    def picture(self, name: str, picture: Any, step: int) -> None:
        """Tell a picture, of ``PIL``."""
        self._tell("a picture", lambda tracker: tracker.picture(name, picture, step))

    def summary(self, figures: Mapping[str, Any]) -> None:
        """Tell what has come of the run."""
        self._tell("the summary", lambda tracker: tracker.summary(figures))

    def close(self, is_complete: bool) -> None:
        """End all of them."""
        self._tell("the end", lambda tracker: tracker.close(is_complete))
        self._trackers.clear()

    def places(self) -> list[str]:
        """Where to look at the run, a text for each tracker that knows it."""
        named = self._trackers.items()
        return [f"{name}: {tracker.place}" for name, tracker in named if tracker.place]

    def _tell(self, what: str, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                tell(tracker)
            except Exception as error:  # noqa: BLE001
                self._failures[name] += 1
                gives_up = self._failures[name] >= _PATIENCE
                if gives_up:
                    del self._trackers[name]
                left = "; it is left out from here on" if gives_up else ""
                logger.warning("%s did not take %s: %s%s", name, what, in_short(error), left)
            else:
                self._failures[name] = 0


def begin(trainer: Any) -> Trackers:
    """Begin the trackers of ``training.trackers``, or go on with those of a run that is resumed.

    Call it on rank 0, once ``trainer`` has loaded model, data and checkpoint.

    Raises:
        ValueError: a tracker does not take its params.
    """
    config = trainer.config
    section = config.training.trackers
    names = names_in_use(section.use)
    if not names:
        return Trackers()
    folder = Path(config.env.save_dir)
    ids = _read_ids(folder) if trainer.num_updates else {}
    shown = without_secrets(OmegaConf.to_container(config, resolve=True))
    begun: dict[str, Tracker] = {}
    for name in names:
        params = OmegaConf.to_container(OmegaConf.create(section.params or {}), resolve=True)
        run = TrackedRun(
            project=str(section.project or config.datasets).replace(",", "_"),
            name=str(section.name or folder.absolute().name),
            folder=folder,
            config=shown,
            params=params.get(name) or {},
            id=ids.get(name),
            writer=trainer.tb_writer,
        )
        try:
            begun[name] = class_of(name)(run)
        except ValueError as error:
            # Of the bridge: what the user has written.
            if str(error).startswith("training.trackers"):
                raise
            logger.warning("%s did not begin, and is left out: %s", name, in_short(error))
        except Exception as error:  # noqa: BLE001
            logger.warning("%s did not begin, and is left out: %s", name, in_short(error))
    ids |= {name: tracker.id for name, tracker in begun.items() if tracker.id is not None}
    try:
        if ids:
            with whole_file(folder / IDS) as file:
                file.write((json.dumps(ids, indent=2) + "\n").encode())
    except OSError as error:
        text = "%s could not be written: %s. A resumed run will be a new one to the trackers"
        logger.warning(text, folder / IDS, error)
    trackers = Trackers(begun)
    for place in trackers.places():
        trainer.announce(labelled("tracker", place))
    return trackers


def tracked_summary(report: Mapping[str, Any] | None, folder: str) -> dict[str, Any]:
    """What has come of a run, by ``run_report.json``: costs and scores, each by one name.

    Args:
        report: what this training has cost; None where there was none.
        folder: ``env.save_dir``, whose report knows the scores.
    """
    scores = read_report(folder).get("scores", {})
    found = {name: scores[name] for name in ("criterion", "best", "best_update") if name in scores}
    for split in ("val", "test"):
        figures = scores.get(split, {})
        found |= {name: value for name, value in figures.items() if name != "update"}
    return found | {name: report[name] for name in _COSTS if report and report[name] is not None}


def _read_ids(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / IDS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read (%s): trackers begin a new run", folder / IDS, error)
        return {}
    return found if isinstance(found, dict) else {}


def in_short(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
