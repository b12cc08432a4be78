"""Weights & Biases (https://docs.wandb.ai)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from secrets import token_hex
from typing import TYPE_CHECKING

from mmf_bridge.tracking.tracker import TrackedRun, Tracker, check_params

if TYPE_CHECKING:
    from PIL import Image

_STEP = "update"


class Wandb(Tracker):
    """``params`` are the arguments of ``wandb.init``: entity, mode, group, tags, notes ..."""

    package = "wandb"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        import wandb

        check_params("wandb", run.params, wandb.init, but=("config", "id", "resume"))
        params = dict(run.params)
        # The run has a console of its own, which wandb is neither to copy nor to fill.
        is_offline = (params.get("mode") or os.environ.get("WANDB_MODE")) == "offline"
        # Online it may have to ask for the account.
        settings = {"console": "off", "quiet": True, "silent": is_offline}
        settings |= params.pop("settings", None) or {}
        given = {"project": run.project, "name": run.name, "dir": str(run.folder), **params}
        self.id = run.id or token_hex(4)
        self._image = wandb.Image
        self._run = wandb.init(
            config=dict(run.config),
            id=self.id,
            resume="allow",
            settings=wandb.Settings(**settings),
            **given,
        )
        # An axis of its own: wandb drops what is logged at a step before its last one, as a run
        # does that goes on from a checkpoint.
        self._run.define_metric(_STEP)
        self._run.define_metric("*", step_metric=_STEP)
        # Offline, looking at the address is a warning of wandb's.
        address = None if self._run.offline else self._run.url
        self.place = address or f"wandb sync {self._run.settings.sync_dir}"

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log({**figures, _STEP: step})

    def picture(self, name: str, picture: Image.Image, step: int) -> None:
        self._run.log({name: self._image(picture), _STEP: step})

    def summary(self, figures: Mapping[str, float | int | str]) -> None:
        self._run.summary.update({f"run/{name}": figure for name, figure in figures.items()})

    def close(self, is_complete: bool) -> None:
        self._run.finish(exit_code=0 if is_complete else 1)
