"""Checkpoints of a tuned run: what was trained, the backbone it belongs to, one model of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.matching import Source
from clipvil_mmf.checkpoints.native import (
    CONFIG,
    TUNED,
    VOCABULARY,
    SavedModel,
    describe_run,
    imported_folder,
    read_run_config,
    read_saved,
    run_config,
    run_source,
    weights_file,
    write_saved,
)
from clipvil_mmf.checkpoints.starting import Run, load_starting_weights
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.sharing.repositories import find_repository
from clipvil_mmf.tasks import build_task
from clipvil_mmf.tuning import is_added
from clipvil_mmf.tuning.method import HEAD, TOWER
from clipvil_mmf.weight_files import read_file, read_weights, write_safetensors

_METADATA = "clipvil"
_BACKBONE = "backbone=FILE in Python, --backbone FILE of a clipvil command"


def trainable_names(network: ClipVilNetwork) -> set[str]:
    """The names in the network's state dict of what training changes.

    Trainable parameters, the buffers of the tuning method and of the head, and the running
    statistics of BatchNorms that follow their batches.
    """
    names = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    tower_moves = network.image_encoder.has_moving_statistics
    for prefix, module in network.named_modules():
        moves = isinstance(module, _BatchNorm) and (tower_moves or not prefix.startswith(TOWER))
        for name in (f"{prefix}.{buffer}" for buffer, _ in module.named_buffers(recurse=False)):
            if moves or name.startswith(HEAD) or network.tuning.backbone_name(name) is None:
                names.add(name)
    return names & network.state_dict().keys()


def backbone_hash(network: ClipVilNetwork, saved: Collection[str] | None = None) -> str:
    """The sha256 of a tuned network's backbone: names without its method, types, shapes, numbers.

    What a checkpoint holds by the names in `saved`, by default what is trainable, is no part of it.
    """
    held = trainable_names(network) if saved is None else saved
    frozen = {
        network.tuning.backbone_name(name) or name: tensor
        for name, tensor in network.state_dict().items()
        if name not in held
    }
    return tensors_hash(frozen)


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of tensors: names, types, shapes, numbers."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def with_backbone(
    network: ClipVilNetwork,
    tuned: Mapping[str, Tensor],
    stated: Mapping[str, Any],
    source: str,
    advice: str = "model_config.clipvil.pretrained=FILE",
) -> dict[str, Tensor]:
    """The network's whole state dict, of a checkpoint that lacks the backbone.

    Args:
        network: with its backbone loaded.
        tuned: the checkpoint's tensors, under the network's names.
        stated: what it says of its backbone, ``name`` and ``sha256``.
        source: the checkpoint, for the error.
        advice: how another backbone is named, for the error.

    Raises:
        CheckpointError: it belongs to another backbone or another method.
    """
    state = network.state_dict()
    fits = {n for n, tensor in tuned.items() if n in state and tensor.shape == state[n].shape}
    differing = sorted((tuned.keys() | trainable_names(network)) - fits)
    if differing:
        raise CheckpointError(
            f"{source} holds what another tuning method has trained: {len(differing)} names or "
            f"shapes differ, such as {', '.join(differing[:3])}. Give the run the section tuning, "
            "and the image_encoder.params.batch_norm, that it was tuned with (config.yaml beside "
            "it)."
        )
    sha256 = backbone_hash(network, tuned.keys())
    if sha256 != stated["sha256"]:
        raise CheckpointError(
            f"{source} was tuned beside another backbone: beside {stated['name']} (sha256 "
            f"{stated['sha256'][:12]}...), but this run's has the sha256 {sha256[:12]}.... "
            f"Load the backbone that it was tuned with: {advice}"
        )
    return {**state, **tuned}


def write_tuned(folder: str | Path, tuned: Mapping[str, Tensor], extra: Mapping[str, Any]) -> Path:
    """Write ``tuned.safetensors`` into a folder: the trainable tensors, by name.

    In its metadata stands `extra`, what the checkpoint says beside them: vocabularies and backbone.

    Raises:
        WeightFileError: it could not be written.
    """
    file = Path(folder) / TUNED
    write_safetensors(tuned, file, {_METADATA: json.dumps(extra, ensure_ascii=False)})
    return file


def read_extra(file: str | Path) -> dict[str, Any] | None:
    """What :func:`write_tuned` put into a safetensors file's metadata; None of another one."""
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(_METADATA)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} could not be read as safetensors: {error}") from error
    return None if text is None else json.loads(text)


class MergeReport(NamedTuple):
    """What was merged."""

    method: str
    trained: int  # tensors
    merged_method: str


def merge(
    path: str | Path,
    output: str | Path,
    backbone: str | Path | Sequence[str | Path] | None = None,
) -> MergeReport:
    """Write a tuned run as a model that stands alone, see :mod:`clipvil_mmf.checkpoints.native`.

    LoRA's low-rank parts are added to their matrices; side networks and adapters stay what they
    are.

    Args:
        path: the run's save_dir, its ``tuned.safetensors``, or a ``.ckpt`` or ``.pth`` of it.
        output: the folder to make.
        backbone: the file of the backbone (or ``hf://org/name``), or several, each over those
            before it; None for what ``model_config.clipvil.pretrained`` of the run names.

    Raises:
        CheckpointError: it is not a tuned run, or the backbone is another one.
        WeightFileError: a file cannot be read or written.
    """
    path = Path(path)
    if imported_folder(path) is not None:
        raise CheckpointError(
            f"{path} was imported or merged, and stands alone already: there is nothing to merge."
        )
    file = _tuned_file(path)
    run = _read(file)
    method, model = complete(file, run, backbone)
    write_saved(model, output)
    return MergeReport(method, len(run.tensors), model.description.network["tuning"]["method"])


def read_model(
    path: str | Path, backbone: str | Path | Sequence[str | Path] | None = None
) -> SavedModel:
    """Read a model as :func:`read_saved`; a tuned run becomes one with its backbone.

    Args:
        path: as :func:`read_saved` and :func:`merge` take it.
        backbone: as :func:`merge` takes it; of another model than a tuned run it is an error.

    Raises:
        CheckpointError, WeightFileError: as both.
    """
    path = Path(path)
    tuned = find_tuned(path)
    if tuned is not None:
        return complete(*tuned, backbone)[1]
    model = read_saved(path)
    if backbone is not None:
        raise CheckpointError(f"{path} is whole: it takes no backbone, but got {backbone}.")
    return model


def find_tuned(path: Path) -> tuple[Path, Source] | None:
    """The file of a run that tuned beside a frozen backbone, and what it holds; None of another."""
    if not path.exists() or imported_folder(path) is not None:
        return None
    file = _tuned_file(path)
    if run_config(file) is None:
        return None
    run = run_source(_loaded(file))
    return None if run is None or run.backbone is None else (file, run)


def _tuned_file(path: Path) -> Path:
    """The file with what was trained that a path names: itself, or that of a run's folder."""
    return path / TUNED if (path / TUNED).is_file() else weights_file(path)


def complete(
    file: Path, run: Source, backbone: str | Path | Sequence[str | Path] | None
) -> tuple[str, SavedModel]:
    """The tuning method of what a run left in a file, and the model of it and its backbone.

    See :func:`merge` for the backbone and what is raised.
    """
    config_file = run_config(file)
    if config_file is None:
        raise CheckpointError(
            f"{file}: there is no {CONFIG} beside it, which says what network it belongs to. Put "
            "the run's there."
        )
    config = read_run_config(config_file)
    description = describe_run(file, run, config)
    description.text_vocabulary = VOCABULARY
    sections = description.network
    passes = build_task(description.task, f"{config_file}: task").passes
    network = ClipVilNetwork.from_config(**sections, where=str(config_file), passes=passes)
    section = config.model_config.clipvil
    own = Run(run.labels, run.tokens, section.get("pretrained_answers"))
    given = section.get("pretrained") if backbone is None else backbone
    files = [given] if isinstance(given, (str, Path)) else list(given or [])
    local = [name for name in files if find_repository(name) is None]
    gone = next((name for name in local if not Path(name).exists()), None)
    if gone is not None:
        raise CheckpointError(
            f"{file} was tuned beside a backbone whose file {gone} does not exist here. Say where "
            f"it is: {_BACKBONE}"
        )
    try:
        load_starting_weights(network, files, own)
    except CheckpointError as error:  # what a run would do about it is of no use here
        raise CheckpointError(
            f"{', '.join(map(str, files))} is not the backbone of {file}: "
            f"{str(error).split('. ')[0]}. Say where that is: {_BACKBONE}"
        ) from error
    network.load_state_dict(with_backbone(network, run.tensors, run.backbone, str(file), _BACKBONE))
    method = sections["tuning"]["method"]
    state = network.tuning.merged_state(network)
    if not any(map(is_added, state)):  # nothing is left beside the network
        sections["tuning"] = {"method": "full"}
    return method, SavedModel(description, state, labels=run.labels, tokens=run.tokens)


def _loaded(file: Path) -> Any:
    if file.suffix == ".safetensors":
        return {**read_weights(file), "_extra_state": read_extra(file)}
    return read_file(file)


def _read(file: Path) -> Source:
    run = run_source(_loaded(file))
    if run is None or run.backbone is None:
        raise CheckpointError(
            f"{file} is not a checkpoint of a run that tuned beside a frozen backbone: there is "
            "nothing to merge. A fully fine-tuned run is whole as it is."
        )
    return run
