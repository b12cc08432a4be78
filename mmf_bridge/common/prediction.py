"""Prediction files: each question once, in the order of the split, under a name of its own."""

from __future__ import annotations

import csv
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mmf_bridge.common.console import say
from mmf_bridge.common.distributed import gather_objects, get_rank, unwrap
from mmf_bridge.common.loading import EpochBatches
from mmf_bridge.common.locking import locked
from mmf_bridge.common.whole_files import partial_file, whole_file

LATEST = "latest.json"

_IDS = ("question_id", "questionId", "id", "image_id")
# A colon is no part of a file's name on Windows, and a slash nowhere.
_TIME = "%Y-%m-%dT%H-%M-%S"
_NOT_PORTABLE = re.compile(r"[^\w.,=+-]")


def row_id(row: dict[str, Any]) -> Any:
    """What identifies a prediction row, or None if it carries no id."""
    return next((row[key] for key in _IDS if key in row), None)


def gather_rows(rows: Sequence[dict[str, Any]], batches: Any = None) -> list[dict[str, Any]]:
    """The rows of all processes, without the exact repeats of padded batches.

    Where ``batches``, the loader's batch sampler, is the bridge's and each sample has made one row,
    they stand in the order of the split, else in that of the processes.
    """
    gathered = [row for shard in gather_objects(list(rows)) for row in shard]
    if isinstance(batches, EpochBatches):
        shards = gather_objects(_positions(batches, len(rows)))
        if None not in shards:
            positions = [position for shard in shards for position in shard]
            # Of repeats of a sample the last one is kept: they are equal.
            rows_of = dict(zip(positions, gathered, strict=True))
            gathered = [rows_of[position] for position in sorted(rows_of)]
    seen: set[Any] = set()
    unique = []
    for row in gathered:
        key = row_id(row)
        if key is None or (type(key), key) not in seen:
            unique.append(row)
            seen.add((type(key), key))
    return unique


def _positions(batches: EpochBatches, rows: int) -> list[int] | None:
    """Where in the split each of a process's rows belongs; None if they are no row a sample."""
    # The order of a sampler depends on its seed and epoch alone, so it can be asked again.
    positions = [position for batch in batches for position in batch]
    return positions if len(positions) == rows else None


def write_report(
    rows: Sequence[dict[str, Any]] | dict[Any, Any],
    folder: str | os.PathLike[str],
    dataset: str,
    experiment: str | None,
    split: str,
    suffix: str,
    header: bool = True,
) -> Path:
    """Write the predictions of a split, and say in ``latest.json`` that they are the newest.

    Returns:
        the absolute path of the file, which names dataset, experiment, split and time.

    Raises:
        OSError: a file could not be written.
    """
    parts = (dataset, experiment, split, time.strftime(_TIME))
    name = "_".join(_NOT_PORTABLE.sub("-", part) for part in parts if part)
    path = write_rows(rows, Path(folder).absolute() / f"{name}.{suffix}", header)
    _note(path.parent / LATEST, dataset, {"file": path.name, "split": split, "rows": len(rows)})
    return path


def write_rows(
    rows: Sequence[dict[str, Any]] | dict[Any, Any],
    path: str | os.PathLike[str],
    header: bool = True,
) -> Path:
    """Write rows as JSON, or as CSV where the name ends so, whole or not at all; return the path.

    A CSV has the names of the fields in its first line unless ``header`` is false. A dataset's
    ``on_prediction_end`` may have made an object of the rows, which is JSON alone: else it is a
    ``ValueError``.

    No file is replaced: where the name is taken, also by another process just now, ``-2`` or a
    higher number goes behind it.
    """
    path = Path(path)
    if isinstance(rows, dict) and path.suffix == ".csv":
        raise ValueError(
            "evaluation.predict_file_format: csv, but these predictions are a JSON object; set it "
            "to json"
        )
    with _explained(path), partial_file(path) as partial:
        with partial.open("w", newline="", encoding="utf-8") as f:
            if path.suffix == ".csv":
                writer = csv.DictWriter(f, rows[0].keys() if rows else [])
                if header:
                    writer.writeheader()
                writer.writerows(rows)
            else:
                json.dump(rows if isinstance(rows, dict) else list(rows), f)
        names = (f"-{number}" if number > 1 else "" for number in count(1))
        paths = (path.with_name(f"{path.stem}{number}{path.suffix}") for number in names)
        return next(free for free in paths if _took(free, partial))


def _took(path: Path, partial: Path) -> bool:
    """Give a finished file its name, unless that is taken."""
    try:
        try:
            os.link(partial, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            path.touch(exist_ok=False)
            os.replace(partial, path)
    except FileExistsError:
        return False
    return True


def _note(path: Path, dataset: str, entry: dict[str, Any]) -> None:
    """Set the entry of a dataset in ``latest.json``; other processes may do the same."""
    with _explained(path), locked(path.parent, f".{path.name}.lock"):
        text = json.dumps({**_entries(path), dataset: entry}, indent=2)
        with whole_file(path) as file:
            file.write(f"{text}\n".encode())


def _entries(path: Path) -> dict[str, Any]:
    """What ``latest.json`` says; nothing if it is absent, or somebody has damaged it."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say of an OSError what could not be written, and what to do."""
    try:
        yield
    except OSError as e:
        raise OSError(
            f"Could not write the predictions {path}: {e}. Free some disk space or choose another "
            "env.report_dir"
        ) from e


class Reporter:
    """Mixed into a line's ``TestReporter``: every process formats its own share; rank 0 writes
    what all of them have. The line has ``current_dataset``, ``current_dataloader``, ``log(line)``
    and ``described()``: the names of dataset and split, and whether they are written as CSV.
    """

    # The files of predictions, by dataset.
    written: Mapping[str, Path] = MappingProxyType({})

    def add_to_report(self, report: Any, model: Any, *args: Any, **kwargs: Any) -> None:
        rows, dataset, model = [], self.current_dataset, unwrap(model)
        if hasattr(dataset, "format_for_prediction"):
            rows = dataset.format_for_prediction(report)
        if hasattr(model, "format_for_prediction"):
            rows = model.format_for_prediction(rows, report)
        self.report.extend(rows)

    def postprocess_dataset_report(self) -> None:
        """Give every process the rows of all, and then to the dataset's own hook of main's."""
        order = getattr(self.current_dataloader, "batch_sampler", None)
        self.report = gather_rows(self.report, order)
        if hasattr(self.current_dataset, "on_prediction_end"):
            self.report = self.current_dataset.on_prediction_end(self.report)

    def flush_report(self) -> None:
        rows, self.report = self.report, []
        if get_rank() != 0:
            return
        name, split, as_csv = self.described()
        bare = getattr(self.current_dataset, "writes_bare_csv", False)
        suffix = "csv" if as_csv or bare else "json"
        where = self.report_folder, name, self.experiment_name, split, suffix
        path = write_report(rows, *where, header=not bare)
        self.written = {**self.written, name: path}
        self.log(f"Wrote {len(rows)} predictions for {name} to {path}")
        say(f"Wrote {len(rows):,} predictions for {name} to {path}")
