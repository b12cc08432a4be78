"""The section ``training.trackers``: checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mmf_bridge.common.near import did_you_mean
from mmf_bridge.tracking import TRACKERS
from mmf_bridge.tracking.tracker import KEY, Tracker

USE = f"{KEY}.use"


def names_in_use(value: Any) -> list[str]:
    """The trackers of ``training.trackers.use``: a list, or a text with commas between them.

    Raises:
        ValueError: one is unknown, or stands twice.
    """
    if isinstance(value, str):
        # A command line gives a list whose entries have no quotes as this text.
        value = [part.strip() for part in value.strip("[] ").split(",") if part.strip()]
    names = [str(name) for name in value or ()]
    for name in names:
        if name not in TRACKERS:
            raise ValueError(
                f"{USE}: unknown tracker {name!r}.{did_you_mean(name, TRACKERS)} "
                f"Choices: {', '.join(TRACKERS)}"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"{USE}: got {', '.join(names)}; expected each of them once")
    return names


def class_of(name: str) -> type[Tracker]:
    """The class of a tracker."""
    module, _, cls = TRACKERS[name].partition(":")
    return getattr(import_module(module), cls)


def check_trackers(training: Any) -> None:
    """Refuse trackers that could not begin; ``training`` is that section of a configuration.

    Raises:
        ValueError: the package of one is not installed, params are given for one that is unknown,
            or Weights & Biases is asked for twice.
    """
    names, params = names_in_use(training.trackers.use), training.trackers.params or {}
    for name, given in params.items():
        if name not in TRACKERS:
            raise ValueError(
                f"{KEY}.params.{name}: unknown tracker.{did_you_mean(name, TRACKERS)} "
                f"Choices: {', '.join(TRACKERS)}"
            )
        if given is not None and not isinstance(given, Mapping):
            raise ValueError(f"{KEY}.params.{name}: got {given!r}, expected a section of keys")
    for name in names:
        cls = class_of(name)
        if cls.package is not None and not _is_installed(cls.package):
            raise ValueError(
                f"{USE}: {name} needs the package {cls.package}, which is not installed: "
                f"pip install {cls.install or cls.package}"
            )
    if "wandb" in names and (training.get("wandb") or {}).get("enabled"):
        raise ValueError(
            f"{USE} names wandb, and training.wandb.enabled, MMF main's own key, is true: the run "
            "would be logged twice. Give one of them"
        )


def _is_installed(package: str) -> bool:
    spec = find_spec(package)
    # A folder of that name, such as the one that an offline run has left, is a namespace.
    return spec is not None and spec.origin is not None
