"""The last lines of a run: what has come of it, where it lies, and what to do with it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmf_bridge.common.commands import command
from mmf_bridge.common.console import labelled
from mmf_bridge.common.distributed import unwrap
from mmf_bridge.common.progress import clock, short
from mmf_bridge.common.run_report import NAME
from mmf_bridge.common.save_dir import files_of_runs
from mmf_bridge.protocols import NamesCommands

_MIB = 2**20


def summary(
    trainer: Any,
    predict: bool,
    options: Iterable[tuple[str, str]],
    report: Mapping[str, Any] | None,
) -> list[str]:
    """What a run leaves behind, a line a theme.

    Args:
        trainer: of either line, at its end.
        predict: whether it has only predicted.
        options: of the command line, names and values.
        report: what ``run_report.json`` says; None where this run has not trained.
    """
    config = trainer.config
    if report is None:
        lines = [labelled("done", f"in {_taken(trainer)}")]
    else:
        lines = [labelled("done", describe_cost(report, _taken(trainer)))]
    scores = describe_scores(trainer)
    if scores:
        lines.append(labelled("scores", scores))
    if report is not None:
        lines.append(labelled("files", describe_files(config.env.save_dir)))
    commands = []
    predicted = dict(getattr(trainer, "predicted", {}))
    has_test = trainer.test_loader.num_datasets > 0  # mmf_predict answers it
    if has_test and not predicted and files_of_runs(config.env.save_dir):
        best = {"resume": True, "resume_best": True}
        commands.append(command("mmf_predict", config, options, **best))
    model = unwrap(trainer.model)
    if isinstance(model, NamesCommands):
        commands += model.next_commands(config, predicted)
    if trainer.tb_writer is not None and report is not None:
        commands.append(f"tensorboard --logdir {trainer.tb_writer.log_folder}")
    if commands:
        lines.append(labelled("next", "\n".join(commands)))
    return lines


def _taken(trainer: Any) -> str:
    return clock(trainer.total_timer.unix_time_since_start())


def describe_cost(report: Mapping[str, Any], taken: str) -> str:
    """Updates and what they took, memory, and what a prediction takes."""
    parts = [f"{report['updates']:,} updates in {taken}"]
    pace = report["seconds_per_update"]
    if pace is not None:
        parts[0] += f" ({short(pace)} s each)"
    parts.append(f"peak memory {report['peak_memory_bytes'] / _MIB:,.0f} MiB")
    prediction = report["seconds_per_prediction"]
    if prediction is not None:
        parts.append(f"{short(1000 * prediction)} ms a prediction")
    return ", ".join(parts)


def describe_scores(trainer: Any) -> str:
    """The best validation and what the run has evaluated besides."""
    parts = []
    stopping = trainer.early_stopping
    if "train" in trainer.run_type and stopping is not None:
        best, update = float(stopping.best_monitored_value), int(stopping.best_monitored_update)
        if math.isfinite(best):
            parts.append(f"{stopping.early_stop_criteria} {short(best)} @{update:,}")
    parts += trainer.evaluated
    return ", ".join(parts)


def describe_files(folder: str) -> str:
    """The folder of a run and what lies in it to go on with."""
    names = [name for name in files_of_runs(folder) if "/" not in name]
    names += [name for name in (NAME, "config.yaml") if Path(folder, name).is_file()]
    return f"{folder}{os.sep}: {', '.join(names)}"
