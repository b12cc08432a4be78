"""A model on disk with all it needs: an imported checkpoint, or what a run of MMF left.

An imported checkpoint is a folder:

* ``config.yaml``: the network's sections, preprocessing, where it came from (:class:`Description`);
* ``model.safetensors``: the network under our names, with what a tuning method added;
* ``unused.safetensors``: tensors that the network has no use for, under the names of `BEST.pth`,
  for the export; it may be deleted;
* ``answers.json`` and ``vocab.txt``: the answers and the text vocabulary, where they are known.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor
from yaml import YAMLError

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.matching import PRETRAINING, Source
from clipvil_mmf.checkpoints.published.answers import read_answer_table
from clipvil_mmf.config import ConfigError, check_keys, from_config
from clipvil_mmf.preprocessing import CLIP_MEAN, CLIP_STD
from clipvil_mmf.tasks import Task, build_task, saved_task
from clipvil_mmf.text.vocabulary import read_tokens
from clipvil_mmf.vision import saved_section
from clipvil_mmf.weight_files import new_folder, read_file, read_weights, write_safetensors

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS, UNUSED = "config.yaml", "model.safetensors", "unused.safetensors"
ANSWERS, VOCABULARY = "answers.json", "vocab.txt"
TUNED = "tuned.safetensors"  # what a run leaves that does not train everything
SECTIONS = ("image_encoder", "visual_embedding", "fusion", "classifier", "tuning")
# What MMF leaves, the best first.
_RUN_FILES = ("*_final.pth", "best.ckpt", "current.ckpt")
_KINDS: dict[type, str] = {int: "a whole number", Mapping: "a mapping of keys"}
_UNREADABLE = (ValueError, OmegaConfBaseException, YAMLError, OSError)
_PUT_WORDS_BACK = "Put that of this model there, or import it again (clipvil import --vocab FILE)."
_PUT_BACK = "Expected the file that MMF wrote beside the checkpoint: put that one there."
# How CLIP-ViL prepares images: the keys of `data.images.ImageParams`.
_PUBLISHED_IMAGES: dict[str, Any] = {
    "image_transform": "fit_pad",
    "image_size": [384, 640],
    "mean": list(CLIP_MEAN),
    "std": list(CLIP_STD),
    "exif_rotation": "ignore",
}


@dataclass
class Description:
    """``config.yaml`` of an imported checkpoint.

    Args:
        source: name of the imported file.
        layout: how the keys of a published file are written, see
            :class:`clipvil_mmf.checkpoints.published.layouts.Layout`; of a run its kind alone.
        network: ``image_encoder``, ``visual_embedding``, ``fusion``, ``classifier``, ``tuning`` as
            in ``model_config.clipvil``, and ``num_labels``; of a tower or a BERT its part alone.
        images: the keys of :class:`clipvil_mmf.data.images.ImageParams`.
        text_vocabulary: ``vocab.txt`` of this folder, or the name of a hub repository.
        text_tokens: lines of ``vocab.txt``; None without that file.
        max_seq_length: word pieces of a question, [CLS] and [SEP] included.
        task: of `clipvil_mmf.tasks`, its name or `{type: ..., params: {...}}`.
        tied: published key -> the key whose tensor it shares.
        format: of this file.
    """

    source: str
    layout: dict[str, Any]
    network: dict[str, Any]
    images: dict[str, Any] = field(default_factory=lambda: dict(_PUBLISHED_IMAGES))
    text_vocabulary: str = "bert-base-uncased"
    text_tokens: int | None = None
    max_seq_length: int = 20
    task: Any = "vqa"
    tied: dict[str, str] = field(default_factory=dict)
    format: int = 1


@dataclass
class SavedModel:
    """A model as it lies on disk, read."""

    description: Description
    network: dict[str, Tensor]  # by our names
    unused: dict[str, Tensor] = field(default_factory=dict)  # by the names of `BEST.pth`
    labels: list[str] | None = None  # the rows of the head, None where they are not known
    tokens: list[str] | None = None  # the text vocabulary, None where only its name is known

    @property
    def source(self) -> Source:
        """Its tensors, to start a network from or to resume."""
        kind, tuning = self.description.layout["kind"], self.description.network.get("tuning")
        return Source(kind, self.network, self.labels, self.tokens, tuning)


def write_saved(model: SavedModel, folder: str | Path) -> None:
    """Write an imported checkpoint; the folder appears when all of it is written.

    Raises:
        WeightFileError: the folder exists, or it could not be written.
    """
    with new_folder(folder) as partial:
        write_files(model, partial)


def write_files(model: SavedModel, folder: Path) -> None:
    """Write the files of :func:`write_saved` into a folder."""
    texts = {}
    if model.labels is not None:
        texts[ANSWERS] = json.dumps(model.labels, ensure_ascii=False, indent=0)
    if model.tokens is not None:
        model.description.text_tokens = len(model.tokens)
        texts[VOCABULARY] = "".join(f"{token}\n" for token in model.tokens)
    description = asdict(model.description)
    if "image_encoder" in description["network"]:
        encoder = saved_section(description["network"]["image_encoder"])
        description["network"]["image_encoder"] = encoder
    texts[CONFIG] = OmegaConf.to_yaml(OmegaConf.create(description))
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_safetensors(model.network, folder / WEIGHTS)
    if model.unused:
        write_safetensors(model.unused, folder / UNUSED)


def read_saved(path: str | Path) -> SavedModel:
    """Read an imported checkpoint or what a run of MMF left.

    Args:
        path: the folder of either, the ``model.safetensors`` of the first, a ``.pth`` or ``.ckpt``
            of the second with its ``config.yaml`` beside it or one folder up.

    Raises:
        CheckpointError: it is neither, or a part of it is missing or wrong.
        WeightFileError: a file of weights cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder.")
    folder = imported_folder(path)
    if folder is not None:
        model = from_tensors(folder, read_weights(folder / WEIGHTS))
        if (folder / UNUSED).is_file():
            model.unused = read_weights(folder / UNUSED)
        return model
    file = weights_file(path)
    if file.name == WEIGHTS:
        raise missing_config(path)
    config_file = run_config(file)
    if config_file is None:
        raise CheckpointError(
            f"{path} is neither an imported checkpoint nor what a run of MMF left: there is no "
            f"{CONFIG} beside {file.name}. A published checkpoint is imported first: "
            f"clipvil import {path}"
        )
    run = run_source(read_file(file))
    refuse_tuned(run, file)
    if run is None:
        raise CheckpointError(
            f"{file} is not a checkpoint of the model clipvil: it lacks network.* or _extra_state. "
            f"A published checkpoint is imported first: clipvil import {file}"
        )
    description = describe_run(file, run, read_run_config(config_file))
    return SavedModel(description, run.tensors, labels=run.labels, tokens=run.tokens)


def missing_config(path: str | Path) -> CheckpointError:
    """The error of an imported checkpoint without its configuration."""
    return CheckpointError(
        f"{path}: {CONFIG} is missing beside {WEIGHTS}; it says which network the weights belong "
        "to. Put it there, or import the checkpoint again (clipvil import)."
    )


def imported_folder(path: str | Path) -> Path | None:
    """The folder of an imported checkpoint that a path names (it or its weights), or None."""
    path = Path(path)
    folder = path.parent if path.name == WEIGHTS and not path.is_dir() else path
    return folder if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file() else None


def from_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> SavedModel:
    """An imported checkpoint whose ``model.safetensors`` has been read already."""
    description = _read_description(folder / CONFIG)
    labels = read_answer_table(folder / ANSWERS) if (folder / ANSWERS).is_file() else None
    rows = description.network.get("num_labels")
    if labels is not None and len(labels) != rows:
        raise CheckpointError(
            f"{folder / ANSWERS} has {len(labels)} answers, but the head of {WEIGHTS} has a "
            f"row for {rows}: it belongs to another checkpoint. Put that of this one there, or "
            "import it again (clipvil import --answers FILE)."
        )
    tokens = _tokens_beside(folder, description)
    return SavedModel(description, without_ddp(tensors), labels=labels, tokens=tokens)


def _tokens_beside(folder: Path, description: Description) -> list[str] | None:
    """The text vocabulary of an imported checkpoint, None where its description names another."""
    file = folder / VOCABULARY
    if not file.is_file():
        if description.text_vocabulary == VOCABULARY:
            raise CheckpointError(f"{file} is missing, the text vocabulary. {_PUT_WORDS_BACK}")
        return None
    tokens = read_tokens(file)
    params = (description.network.get("fusion") or {}).get("params") or {}
    rows = params.get("vocab_size") or len(tokens)
    # Embeddings may have spare rows, so that the folder says how many tokens there were.
    expected = description.text_tokens or min(len(tokens), rows)
    if len(tokens) != expected:
        raise CheckpointError(
            f"{file} has {len(tokens)} lines, but the weights beside it were trained with "
            f"{expected} word pieces: it was changed, or is of another model. {_PUT_WORDS_BACK}"
        )
    return tokens


def _read_description(file: Path) -> Description:
    try:
        description = from_config(Description, OmegaConf.load(file), str(file))
        if "num_answers" in description.network:
            description.network["num_labels"] = description.network.pop("num_answers")
            logger.warning("%s: network.num_answers is called network.num_labels now", file)
        _check(description)
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{file} does not describe an imported checkpoint ({error}). Import it again "
            "(clipvil import)."
        ) from error
    return description


def _check(description: Description) -> None:
    """Raise :class:`ConfigError` where the dataclass alone does not see that something is wrong."""
    network = description.network
    if description.format != 1:
        raise ConfigError(f"format: got {description.format}, this version reads 1")
    if "kind" not in description.layout:
        raise ConfigError("layout.kind: missing")
    check_keys("network", network, (*SECTIONS, "num_labels"))
    for key, value in network.items():
        expected = int if key == "num_labels" else Mapping
        optional = value is None and key in ("visual_embedding", "tuning")
        if not isinstance(value, expected) and not optional:
            raise ConfigError(f"network.{key}: got {value!r}, expected {_KINDS[expected]}")
    for key in ("image_encoder", "fusion", "num_labels") if "classifier" in network else ():
        if key not in network:
            raise ConfigError(f"network.{key}: missing")


def run_source(loaded: Any) -> Source | None:
    """The model in what a ``.pth`` or ``.ckpt`` of a run of MMF holds; None of another file."""
    state = without_ddp(loaded.get("model", loaded)) if isinstance(loaded, Mapping) else {}
    prefix = "network."
    network = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    extra = state.get("_extra_state")
    if not network or not isinstance(extra, Mapping) or "answer" not in extra:
        return None
    words = list(extra["answer"]), list(extra["text"])
    kind = "pretrained" if any(name.startswith(PRETRAINING) for name in network) else "run"
    return Source(kind, network, *words, backbone=extra.get("backbone"))


def without_ddp(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without the prefix that distributed training puts before its keys."""
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def refuse_tuned(run: Source | None, file: Path) -> None:
    """Raise CheckpointError for what a run left whose file lacks its backbone."""
    backbone = file.name == TUNED if run is None else run.backbone
    if backbone:
        name = "" if run is None else f", {run.backbone['name']}"
        raise CheckpointError(
            f"{file} holds what a tuning method trained, alone. Make one model of it and its "
            f"backbone{name}: clipvil merge {file} --output FOLDER"
        )


def weights_file(path: Path) -> Path:
    """The file of weights that a path names: itself, or that of a folder, the best of a run.

    Raises:
        CheckpointError: there is none, or there are several to choose from.
    """
    if path.is_file():
        return path
    for pattern in (WEIGHTS, *_RUN_FILES):
        found = sorted(path.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            raise CheckpointError(f"{path} holds several models: {found}; name one of them.")
    raise CheckpointError(
        f"{path} holds no model: neither {WEIGHTS} with {CONFIG} (an imported checkpoint) nor "
        f"{' or '.join(_RUN_FILES)} (a run of MMF)."
    )


def run_config(file: Path) -> Path | None:
    """The configuration of the run that left a file: beside it or one folder up."""
    return next((f / CONFIG for f in file.parents[:2] if (f / CONFIG).is_file()), None)


def read_run_config(file: Path) -> DictConfig:
    """The configuration of a run; a CheckpointError if it is not yaml, or not a mapping."""
    try:
        config = OmegaConf.load(file)
    except _UNREADABLE as error:
        raise CheckpointError(f"{file} cannot be read as yaml ({error}). {_PUT_BACK}") from error
    if not isinstance(config, DictConfig):
        raise CheckpointError(f"{file} is a list, not a mapping of keys. {_PUT_BACK}")
    return config


def read_sections(config: Any) -> dict[str, Any]:
    """The network's sections of a configuration: MMF's, or with the sections at its top."""
    model = "model_config.clipvil"
    prefix = f"{model}." if _values(config, model, Mapping) else ""
    sections = {key: _values(config, f"{prefix}{key}", Mapping) for key in SECTIONS}
    return {key: section for key, section in sections.items() if section is not None}


def _values(config: Any, key: str, kind: type | None = None) -> Any:
    """What a configuration has under a dotted key, as plain values; None where it has nothing.

    What cannot be resolved, or is of another kind, is a CheckpointError.
    """
    try:
        found = OmegaConf.select(config, key)
        if OmegaConf.is_config(found):
            found = OmegaConf.to_container(found, resolve=True)
    except OmegaConfBaseException as error:
        why = f"cannot be resolved ({str(error).splitlines()[0]})"
        raise CheckpointError(f"{CONFIG}: {key} {why}. {_PUT_BACK}") from error
    if kind is not None and not (found is None or isinstance(found, kind)):
        why = f"got {found!r}, expected {_KINDS[kind]}"
        raise CheckpointError(f"{CONFIG}: {key}: {why}. {_PUT_BACK}")
    return found


def describe_run(file: Path, run: Source, config: Any) -> Description:
    """What a run left in a file, by its configuration; a CheckpointError if that is incomplete."""
    network, preprocessing = read_sections(config), read_preprocessing(config)
    lacking = [part for part in ("image_encoder", "fusion", "classifier") if part not in network]
    what = f"{', '.join(lacking)} in model_config.clipvil" if lacking else ""
    if not lacking and not preprocessing:
        what = (
            "the section dataset_config.<dataset> of its dataset, which says how images and "
            "questions are prepared"
        )
    if what:
        raise CheckpointError(f"{file}: the {CONFIG} of its run lacks {what}. {_PUT_BACK}")
    params = dict(network["fusion"].get("params") or {})
    params["vocab_size"] = params.get("vocab_size") or len(run.tokens)
    network["fusion"] = {**network["fusion"], "params": params}
    network["num_labels"] = len(run.labels)
    layout: dict[str, Any] = {"kind": "finetuned"}
    if run.kind == "pretrained":  # as the published code writes it
        layout = {"kind": run.kind, "ddp": True}
        if not any(name.startswith("classifier.") for name in run.tensors):
            del network["num_labels"], network["classifier"]
    return Description(file.name, layout, network, **preprocessing)


def read_preprocessing(config: Any) -> dict[str, Any]:
    """``images``, ``max_seq_length`` and ``task`` of a configuration's one dataset; or published.

    Sections of datasets that the run does not have, which a yaml file may bring, do not count.
    Several datasets are a CheckpointError.
    """
    datasets = _datasets(config)
    if len(datasets) > 1:
        raise CheckpointError(
            f"The configuration has several datasets ({', '.join(datasets)}), which may prepare "
            "images in different ways: give one with a single dataset."
        )
    if not datasets:
        return {}
    ((name, section),) = datasets.items()
    where = f"dataset_config.{name}"
    length = _values(config, f"{where}.processors.text_processor.params.max_seq_length", int)
    images = {key: _values(config, f"{where}.{key}") for key in _PUBLISHED_IMAGES}
    return {
        "images": {key: value for key, value in images.items() if value is not None},
        "max_seq_length": 20 if length is None else length,
        "task": saved_task(section),
    }


def run_tasks(file: Path) -> dict[str, Task]:
    """The tasks of the run that left a file, by the keys of its configuration that name them.

    None where that is not beside it, cannot be read (a log line says so), or is older than the key.

    Raises:
        ConfigError: a task is unknown here, or its section is wrong.
    """
    config_file = run_config(file)
    try:
        datasets = {} if config_file is None else _datasets(read_run_config(config_file))
    except CheckpointError as error:  # a run that was killed may have left half of it
        logger.warning("the task of %s is not checked: %s", file, error)
        return {}
    return {
        key: build_task(saved_task(section), f"{config_file}: {key}")
        for key, section in ((f"dataset_config.{n}.task", part) for n, part in datasets.items())
        if section.get("task")
    }


def _datasets(config: Any) -> dict[str, Any]:
    """The sections of the datasets of a configuration, by name."""
    sections = OmegaConf.select(config, "dataset_config") or {}
    names = OmegaConf.select(config, "datasets") or OmegaConf.select(config, "dataset")
    used = str(names).split(",") if names else list(sections)
    return {name: sections[name] for name in used if sections.get(name) is not None}
