"""TensorBoard: MMF's own writer, with the configuration and pictures beside the figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mmf_bridge.tracking.tracker import TrackedRun, Tracker, check_params

if TYPE_CHECKING:
    from PIL import Image


class TensorBoard(Tracker):
    """Writes into the folder of ``training.tensorboard``, which it turns on."""

    package = "tensorboard"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        check_params("tensorboard", run.params, lambda: None)
        self._writer = run.writer.summary_writer
        if run.id is None:
            # An indented block is shown as it is.
            text = json.dumps(run.config, indent=2, default=str).replace("\n", "\n    ")
            self._writer.add_text("config", f"    {text}", 0)
        self.id = run.writer.tensorboard_folder

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        """MMF's writer has them already."""

    def picture(self, name: str, picture: Image.Image, step: int) -> None:
        self._writer.add_image(name, np.array(picture), step, dataformats="HWC")

    def summary(self, figures: Mapping[str, float | int | str]) -> None:
        rows = "\n".join(f"| {name} | {figure} |" for name, figure in figures.items())
        self._writer.add_text("summary", f"| | |\n|---|---|\n{rows}")
        self._writer.flush()
