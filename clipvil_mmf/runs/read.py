"""What the folders of runs say: ``config.yaml`` and ``run_report.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mmf_bridge.common.run_report import read_report

CONFIG = "config.yaml"
_DEPTH = 2  # folders below the one that is named, such as save/easy_vqa_transfer/lora
# Sections and keys in which runs differ that are alike: places, processes, how it was started.
_OF_THE_MACHINE = ("env", "checkpoint", "distributed", "device_id", "start_rank", "local_rank")
_COMPONENTS = ("model_config", "dataset_config", "optimizer", "scheduler")
# What says in other words what another key says.
_DERIVED = ("opts", "config_override", "dataset")


class RunError(ValueError):
    """A folder that does not hold a run; the message says what was expected."""


@dataclass(frozen=True)
class Run:
    """A run by what it left in its folder; what is not known is None."""

    name: str
    settings: Mapping[str, Any]  # dotted key -> value
    criterion: str | None = None  # what the best weights were chosen by
    best: float | None = None
    best_update: int | None = None
    test: float | None = None  # the test split's figure of the same name
    trainable: int | None = None
    total: int | None = None
    memory: int | None = None  # bytes at the peak
    seconds: float | None = None  # of all the commands that have trained it
    updates: int | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """The folders of runs among these folders and up to two levels below them.

    Raises:
        RunError: one of them does not exist, or none holds a run.
    """
    folders = list(folders)
    for folder in folders:
        if not folder.exists():
            raise RunError(f"{folder} does not exist; expected the folder of a run (env.save_dir)")
    found = [run for folder in folders if folder.is_dir() for run in _below(folder, _DEPTH)]
    if not found:
        names = ", ".join(map(str, folders))
        raise RunError(f"no run in {names}: expected folders of runs (env.save_dir), with {CONFIG}")
    return list(dict.fromkeys(found))


def _below(folder: Path, depth: int) -> list[Path]:
    if (folder / CONFIG).is_file():
        return [folder]
    if not depth:
        return []
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    return [run for path in below for run in _below(path, depth - 1)]


def read_runs(folders: Sequence[Path], say: Callable[[str], None] = print) -> list[Run]:
    """Runs with the keys in which they differ; folders of other kinds are left out.

    Args:
        folders: with a ``config.yaml`` each.
        say: is told of each that is damaged, where others are not.

    Raises:
        RunError: no configuration is one of MMF's.
    """
    runs, damaged = [], []
    for folder in folders:
        try:
            run = read_run(folder)
        except RunError as error:
            damaged.append(error)
            continue
        if run is not None:
            runs.append(run)
    if not runs:
        raise damaged[0] if damaged else RunError(f"no {CONFIG} there is one of mmf_run's")
    for error in damaged:
        say(f"left out: {error}")
    keys = changed_keys([run.settings for run in runs])
    return [
        replace(run, changed={key: run.settings[key] for key in keys if key in run.settings})
        for run in runs
    ]


def read_run(folder: Path) -> Run | None:
    """What a folder says of its run; None where its configuration is not one of MMF's.

    Raises:
        RunError: the configuration is damaged.
    """
    path = folder / CONFIG
    try:
        config = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as e:
        raise RunError(f"{path} cannot be read: {e}. Correct the file, or remove its folder") from e
    if not isinstance(config, DictConfig) or "training" not in config:
        return None
    report = read_report(str(folder))
    scores = report.get("scores")
    scores = scores if isinstance(scores, dict) else {}
    criterion = scores.get("criterion")
    test = scores.get("test")
    if isinstance(test, dict) and isinstance(criterion, str):
        test = test.get(f"test/{criterion.removeprefix('val/')}")
    seconds = report.get("seconds")
    return Run(
        name=str(folder),
        settings=flatten(OmegaConf.to_container(config, resolve=False)),
        criterion=criterion,
        best=scores.get("best"),
        best_update=scores.get("best_update"),
        test=test if isinstance(test, float) else None,
        trainable=report.get("trainable"),
        total=report.get("total"),
        memory=report.get("peak_memory_bytes"),
        seconds=None if seconds is None else seconds + report.get("earlier_seconds", 0.0),
        updates=None if seconds is None else report["updates"] + report.get("earlier_updates", 0),
    )


def flatten(section: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A configuration's values by their dotted keys; lists are values."""
    found: dict[str, Any] = {}
    for key, value in section.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            found |= flatten(value, f"{name}.")
        else:
            found[name] = value
    return found


def changed_keys(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys in which configurations differ, but for those of places and processes."""
    sections = [{_section(key) for key in of_run} for of_run in settings]
    shared = set.intersection(*sections) if sections else set()
    keys = dict.fromkeys(key for of_run in settings for key in of_run)
    return [
        key
        for key in keys
        if key.split(".")[0] not in (*_OF_THE_MACHINE, *_DERIVED)
        and (all(key in of_run for of_run in settings) or _section(key) in shared - {None})
        and any(of_run.get(key) != settings[0].get(key) for of_run in settings[1:])
    ]


def _section(key: str) -> str | None:
    """The section of a component, in which runs may have keys that others lack.

    Elsewhere those are the defaults of another line of MMF.
    """
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0] in _COMPONENTS and len(parts) > 2 else None
