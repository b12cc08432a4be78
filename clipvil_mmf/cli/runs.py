"""``clipvil runs``: trained runs in one table, as JSON and as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from clipvil_mmf.extras import check_extra
from clipvil_mmf.runs.figure import draw, score_name
from clipvil_mmf.runs.read import Run, find_runs, read_runs
from mmf_bridge.common.progress import clock, short

_MIB = 2**20
_UNKNOWN = "–"
_WIDEST = 1000


def command(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of runs (env.save_dir), or folders with some.")
    ],
    png: Annotated[Path | None, typer.Option(help="Also draw the runs into this .png.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON in place of a table.")
    ] = False,
) -> None:
    """Put runs side by side: changed keys, best score, parameters, memory, time."""
    if png is not None:
        check_extra("--png", "plot", {"matplotlib": "matplotlib"})
        if png.suffix.lower() != ".png":
            raise ValueError(f"--png {png}: expected a name ending in .png")
    runs = read_runs(find_runs(folders), lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(json.dumps([_as_json(run) for run in runs], indent=2))
    else:
        # A line that wraps in a narrow terminal is better than a figure cut short.
        width = max(Console().width, _WIDEST)
        Console(highlight=False, soft_wrap=True, width=width).print(_table(runs))
    if png is not None:
        labels = ["\n".join([_name(run, runs), *_changes(run)]) for run in runs]
        draw(runs, labels, png)
        typer.echo(f"written: {png}", err=as_json)


def _as_json(run: Run) -> dict[str, Any]:
    return {key: value for key, value in vars(run).items() if key != "settings"}


def _table(runs: Sequence[Run]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    figures = (score_name(runs), "test", "trainable", "memory", "updates", "time")
    for head in ("run", *figures, "changed"):
        table.add_column(head, justify="right" if head in figures else "left", no_wrap=True)
    for run in runs:
        table.add_row(*_cells(run, runs))
    return table


def _cells(run: Run, runs: Sequence[Run]) -> list[str]:
    best = _UNKNOWN
    if run.best is not None:
        best = f"{short(run.best)} @{run.best_update:,}"
    trainable = _UNKNOWN
    if run.trainable is not None and run.total:
        trainable = f"{run.trainable:,} ({100 * run.trainable / run.total:.3g} %)"
    return [
        _name(run, runs),
        best,
        _UNKNOWN if run.test is None else short(run.test),
        trainable,
        _UNKNOWN if run.memory is None else f"{run.memory / _MIB:,.0f} MiB",
        _UNKNOWN if run.updates is None else f"{run.updates:,}",
        _UNKNOWN if run.seconds is None else clock(run.seconds),
        "\n".join(_changes(run)),
    ]


def _name(run: Run, runs: Sequence[Run]) -> str:
    """The run's folder, without what all of the folders begin with."""
    parts = [Path(other.name).parts for other in runs]
    shared = 0
    while all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return str(Path(*Path(run.name).parts[shared:]))


def _changes(run: Run) -> list[str]:
    """``key=value`` of the keys in which the runs differ, without the model's section."""
    section = f"model_config.{run.settings.get('model')}."
    return [f"{key.removeprefix(section)}={_as_typed(value)}" for key, value in run.changed.items()]


def _as_typed(value: Any) -> Any:
    """A value as it is given on the command line."""
    return json.dumps(value) if value is None or isinstance(value, bool) else value
