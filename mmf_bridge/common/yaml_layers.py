"""Where the values of a configuration come from: file and line, or the command line.

MMF merges its defaults, those of the model, those of the datasets, the run's yaml file and the
options, each over those before it, and a file over those that it includes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmf_bridge.common.commandline import option_pairs
from mmf_bridge.common.configuration import NEWER_DEFAULTS
from mmf_bridge.common.plugins import find_in_plugins


@dataclass(frozen=True)
class Layer:
    """What one file, or the command line, sets."""

    name: str  # the file's path, or what it is in words
    lines: dict[str, int]  # dotted key, such as a.b[0].c, of sections too -> line; 0 for none


def layers_of(config: Any, options: Sequence[str]) -> list[Layer]:
    """The layers of a configuration, in the order in which they are merged.

    Args:
        config: as MMF has merged it; it names the model and the datasets.
        options: of the command line, ``config=FILE`` among them.
    """
    from mmf.common.registry import registry
    from mmf.utils.configuration import get_default_config_path

    pairs = option_pairs(options)
    datasets = str(config.datasets or config.dataset).split(",")
    classes = [registry.get_model_class(config.model)]
    classes += [registry.get_builder_class(name) for name in datasets]
    files = [get_default_config_path(), *(kind.config_path() for kind in classes)]
    files += [value for key, value in pairs if key == "config"]
    own = {"learning_rate": None, **NEWER_DEFAULTS}
    layers = [Layer("default of mmf_bridge", dict.fromkeys(_keys(own), 0))]
    for file in filter(None, files):
        layers += [Layer(path, _lines(path)) for path in yaml_files(file)]
    given = {key: 0 for key, _ in pairs}
    layers.append(Layer("command line", given | _datasets(given)))
    device = source(layers, "training.device")
    if config.training.device == "cpu" and device and device[0] == layers[1].name:
        layers.append(Layer("no GPU was found", {"training.device": 0}))
    return layers


def yaml_files(file: str) -> list[str]:
    """The paths of a yaml file and of those that it includes, in the order of their merging."""
    from mmf.utils.general import get_absolute_path, get_mmf_root

    if not os.path.exists(file):
        file = find_in_plugins(file) or get_absolute_path(file)
    content = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
    found = []
    for include in content.get("includes") or []:
        of_mmf = os.path.join(get_mmf_root(), include)
        beside = os.path.join(os.path.dirname(file), include)
        found += yaml_files(of_mmf if os.path.exists(of_mmf) else beside)
    return [*found, os.path.realpath(file)]


def source(layers: Sequence[Layer], key: str) -> tuple[str, int] | None:
    """The name of the layer that sets a key, and the line; None where none does.

    A list is never merged: its entries are those of the last layer that has it.
    """
    of_list = key.split("[")[0]
    for layer in reversed(layers):
        for name in (key, of_list):
            if name in layer.lines:
                return layer.name, layer.lines[name]
    return None


def _lines(file: str) -> dict[str, int]:
    root = yaml.compose(Path(file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    lines = dict(_walk(root, "")) if root is not None else {}
    return lines | _datasets(lines)


def _datasets(lines: dict[str, int]) -> dict[str, int]:
    """MMF takes `datasets` from `dataset`."""
    return {"datasets": lines["dataset"]} if "dataset" in lines else {}


def _walk(node: Any, prefix: str) -> Iterator[tuple[str, int]]:
    """Each dotted key below a node of yaml, with its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}.{key.value}" if prefix else key.value
            yield path, key.start_mark.line + 1
            yield from _walk(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, f"{prefix}[{index}]")


def _keys(section: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in section.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")
