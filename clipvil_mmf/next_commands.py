"""The commands of this package that a run's console names at its end."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from clipvil_mmf.data.catalogue import CATALOGUES

_EASY_VQA = "easy_vqa"


def next_commands(config: Any, predicted: Mapping[str, Any]) -> list[str]:
    """Commands that check and draw the predictions of a run, or that put it beside others.

    Args:
        config: MMF's whole configuration.
        predicted: the prediction files that the run has written, by dataset; none after a training.
    """
    if not predicted:
        shown = [
            f"clipvil show FILE {options} --output predictions.png  # of mmf_predict"
            for name in str(config.datasets).split(",")
            if (options := _questions(config, name)) is not None
        ]
        folder = Path(config.env.save_dir).parent
        return [*shown, f"clipvil runs {shlex.quote(str(folder))}/*"]
    commands = []
    for name, file in predicted.items():
        options = _questions(config, name)
        if options is not None:
            file = shlex.quote(str(file))
            commands.append(f"clipvil check-submission {file} {options}")
            commands.append(f"clipvil show {file} {options} --output predictions.png")
    return commands


def _questions(config: Any, name: str) -> str | None:
    """The options that name a dataset's test questions; None where its name does not."""
    if name == _EASY_VQA:
        return f"--questions {name}"
    if name not in CATALOGUES:
        return None
    section = config.dataset_config[name]
    tests = OmegaConf.select(section, "annotations.test") or []
    tests = [tests] if isinstance(tests, str) else list(tests)
    if len(tests) != 1 or tests[0] not in CATALOGUES[name].splits:
        return None
    return f"--questions {name} --root {shlex.quote(str(section.data_dir))} --split {tests[0]}"
