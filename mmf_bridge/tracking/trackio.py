"""Trackio (https://huggingface.co/docs/trackio): dashboards on this machine, without an account."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping
from contextlib import redirect_stdout
from secrets import token_hex
from typing import TYPE_CHECKING

from mmf_bridge.tracking.tracker import TrackedRun, Tracker, check_params

if TYPE_CHECKING:
    from PIL import Image


class Trackio(Tracker):
    """``params`` are the arguments of ``trackio.init``: group, space_id, private ..."""

    package = "trackio"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        import trackio

        check_params("trackio", run.params, trackio.init, but=("config", "name", "resume"))
        # It finds a run by its name alone, and takes a name twice.
        given = {"project": run.project, "name": run.id or f"{run.name}-{token_hex(2)}"}
        given |= {"embed": False, **run.params}
        self._image, self._finish, self._last = trackio.Image, trackio.finish, 0
        with redirect_stdout(io.StringIO()):  # what it says, the run's console says
            resume = "never" if run.id is None else "allow"
            self._run = trackio.init(config=dict(run.config), resume=resume, **given)
        self.id = self._run.name
        self.place = f"trackio show --project {shlex.quote(given['project'])}"

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        self._last = max(self._last, step)
        self._run.log(dict(figures), step=step)

    def picture(self, name: str, picture: Image.Image, step: int) -> None:
        self._run.log({name: self._image(picture)}, step=step)

    def summary(self, figures: Mapping[str, float | int | str]) -> None:
        # It knows no summary: these are figures of the last update.
        numbers = {f"run/{k}": v for k, v in figures.items() if not isinstance(v, str)}
        self._run.log(numbers, step=self._last)

    def close(self, is_complete: bool) -> None:
        with redirect_stdout(io.StringIO()):
            self._finish()
