"""The values of MMF's own keys, checked before anything is loaded: types, ranges, choices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf

from mmf_bridge.common import compiling
from mmf_bridge.common.near import did_you_mean
from mmf_bridge.common.precision import PRECISIONS
from mmf_bridge.common.run_length import AUTO, KEYS, LEFTOVERS
from mmf_bridge.tracking import TRACKERS, settings

SECTIONS = ("training", "checkpoint", "evaluation", "distributed", "env")
RUN_TYPES = ("train", "val", "test", "inference", "predict")

# Keys whose default is null -> the type of their values, null beside it.
_TYPES: dict[str, type] = {
    "training.max_epochs": int,
    "training.batch_size_per_device": int,
    "training.max_grad_l2_norm": float,
    "distributed.rank": int,
}
_INTERVALS = {f"training.{key}" for key in KEYS}
# Keys that have a default, and whose null means something too.
_NULLABLE = {"training.seed", "training.max_updates", "training.experiment_name", *_INTERVALS}
_AT_LEAST: dict[str, int] = {
    "training.seed": -1,
    "training.max_updates": 0,
    "training.max_epochs": 0,
    "training.batch_size": 1,
    "training.batch_size_per_device": 1,
    "training.update_frequency": 1,
    "training.num_workers": 0,
    **dict.fromkeys(_INTERVALS, 1),
    "training.early_stop.patience": 0,
    "training.trackers.images": 0,
    "checkpoint.max_to_keep": -1,
    "distributed.world_size": 1,
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "training.logger_level": ("debug", "info", "warning", "error", "critical"),
    "training.log_format": ("simple", "json"),
    "training.clip_norm_mode": ("all", "question"),
    "training.precision": PRECISIONS,
    "training.leftover_batches": LEFTOVERS,
    settings.USE: tuple(TRACKERS),
    "evaluation.predict_file_format": ("json", "csv"),
    "distributed.backend": ("nccl", "gloo", "mpi", "ucc"),
}
_NAMES = {bool: "true or false", int: "a whole number", float: "a number"}


def check_values(config: DictConfig, default: DictConfig) -> None:
    """Check the values of the keys that MMF's defaults describe; 1e5 becomes a whole number.

    Args:
        config: the merged configuration.
        default: MMF's defaults, with the keys that the bridge adds.

    Raises:
        ValueError: a value is of another type than its key's, out of its range, or none of its
            choices; or the trainer is Lightning's.
    """
    check_run_type(config.run_type)
    for section in SECTIONS:
        if section in default and section in config:
            _check_section(config, default[section], section)
    if config.training.get("trainer") == "lightning":
        raise ValueError(
            "training.trainer is lightning: MMF's trainer of that name was written for Lightning 1 "
            "and cannot run with Lightning 2. Give training.trainer=mmf, which has its features"
        )
    if not str(config.env.save_dir or "").strip():
        raise ValueError("env.save_dir is empty: give the folder that the run is to be saved in")


def idle_max_updates(training: Any, options: Mapping[str, str]) -> str | None:
    """What to say of ``training.max_updates`` on a command line that ``max_epochs`` goes before.

    Args:
        training: MMF's section of the merged configuration.
        options: names and values on the command line.

    Returns:
        A sentence; None where the option is not given, or counts.
    """
    given = options.get("training.max_updates", "null")
    if given == "null" or training.max_epochs is None or "training.max_epochs" in options:
        return None
    return (
        f"training.max_updates={given} has no effect, as training.max_epochs is "
        f"{training.max_epochs} and goes before it: give training.max_epochs=null as well"
    )


class Expected(NamedTuple):
    """What :func:`check_values` expects of a key."""

    type: str  # in words, as of the annotation of a dataclass: int, float | null
    choices: tuple[str, ...] = ()
    at_least: int | None = None


def expected(key: str, default: Any) -> Expected:
    """What is expected of a key of MMF's sections that has this default."""
    kind = _TYPES.get(key, type(default))
    names = [] if kind is type(None) else [_type_name(kind)]
    if key in _INTERVALS:
        names.append(AUTO)
    if default is None or key in _NULLABLE:
        names.append("null")
    if names == ["null"]:
        names = ["str", "null"] if key in _CHOICES else ["any"]
    if key == compiling.KEY:
        names.append("section")
    if key == settings.USE:
        names = ["list[str]"]
    return Expected(" | ".join(names), _CHOICES.get(key, ()), _AT_LEAST.get(key))


def _type_name(kind: type) -> str:
    if issubclass(kind, (Mapping, list, tuple)):
        return "section" if issubclass(kind, Mapping) else "list"
    return kind.__name__


def check_run_type(run_type: Any) -> None:
    """Raise a ``ValueError`` unless ``run_type`` is made of MMF's words."""
    words = re.split(r"[\s_+,-]+", run_type) if isinstance(run_type, str) else [repr(run_type)]
    for word in words:
        if word not in RUN_TYPES:
            raise ValueError(
                f"run_type: got {run_type!r}, of which {word!r} is unknown."
                f"{did_you_mean(word, RUN_TYPES)} Expected words of {', '.join(RUN_TYPES)}, joined "
                "by _, such as train_inference"
            )


def check_splits(run_type: str, predict: bool) -> None:
    """Raise a ``ValueError`` if ``run_type`` names no split for ``mmf_predict``."""
    if predict and not any(word in run_type for word in RUN_TYPES[1:]):
        raise ValueError(
            f"run_type: got {run_type!r}, which names no split to predict: give run_type=test or "
            "run_type=val"
        )


def _check_section(config: DictConfig, default: Any, path: str) -> None:
    for name in default:
        key = f"{path}.{name}"
        value = OmegaConf.select(config, key)
        expected = default._get_node(name)
        if key == compiling.KEY:
            compiling.compile_options(value)
        elif key == settings.USE:
            names = settings.names_in_use(value)
            OmegaConf.update(config, key, names, merge=False)
            if "tensorboard" in names:
                config.training.tensorboard = True
        elif isinstance(expected, DictConfig):
            if not isinstance(value, Mapping):
                raise ValueError(f"{key}: got {value!r}, expected a section of keys")
            _check_section(config, expected, key)
        elif not isinstance(expected, ListConfig):
            _check_value(config, key, value, default[name])
        elif not isinstance(value, ListConfig):
            raise ValueError(f"{key}: got {value!r}, expected a list")


def _check_value(config: DictConfig, key: str, value: Any, default: Any) -> None:
    kind = _TYPES.get(key, type(default))
    if value is None and (default is None or key in _NULLABLE):
        return
    if key in _INTERVALS and value == AUTO:
        return
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
        OmegaConf.update(config, key, value)
    if kind in _NAMES and not _is_of(kind, value):
        near = did_you_mean(str(value).lower(), ("true", "false")) if kind is bool else ""
        auto = f" or {AUTO}" if key in _INTERVALS else ""
        raise ValueError(f"{key}: got {value!r}, expected {_NAMES[kind]}{auto}.{near}")
    if key in _AT_LEAST and value < _AT_LEAST[key]:
        raise ValueError(f"{key}: got {value!r}, expected a number of at least {_AT_LEAST[key]}")
    if key in _CHOICES and value not in _CHOICES[key]:
        choices = _CHOICES[key]
        raise ValueError(
            f"{key}: got {value!r}.{did_you_mean(value, choices)} Choices: {', '.join(choices)}"
        )


def _is_of(kind: type, value: Any) -> bool:
    if kind is bool:
        return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))
    return isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
