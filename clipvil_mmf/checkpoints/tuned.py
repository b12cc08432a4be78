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
    run_config,
    run_source,
    weights_file,
    write_saved,
)
from clipvil_mmf.checkpoints.starting import Run, load_starting_weights
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tasks import build_task
from clipvil_mmf.tuning import is_added
from clipvil_mmf.tuning.method import HEAD, TOWER
from clipvil_mmf.weight_files import read_file, read_weights, write_safetensors

_METADATA = "clipvil"


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
    network: ClipVilNetwork, tuned: Mapping[str, Tensor], stated: Mapping[str, Any], source: str
) -> dict[str, Tensor]:
    """The network's whole state dict, of a checkpoint that lacks the backbone.

    Args:
        network: with its backbone loaded.
        tuned: the checkpoint's tensors, under the network's names.
        stated: what it says of its backbone, ``name`` and ``sha256``.
        source: the checkpoint, for the error.

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
            "Load the backbone that it was tuned with: model_config.clipvil.pretrained=FILE"
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
    path: str | Path, output: str | Path, backbone: Sequence[str | Path] | None = None
) -> MergeReport:
    """Write a tuned run as a model that stands alone, see :mod:`clipvil_mmf.checkpoints.native`.

    LoRA's low-rank parts are added to their matrices; side networks and adapters stay what they
    are.

    Args:
        path: the run's save_dir, its ``tuned.safetensors``, or a ``.ckpt`` or ``.pth`` of it.
        output: the folder to make.
        backbone: the files of the backbone, each over those before it; None for those that
            ``model_config.clipvil.pretrained`` of the run names.

    Raises:
        CheckpointError: it is not a tuned run, or the backbone is another one.
        WeightFileError: a file cannot be read or written.
    """
    path = Path(path)
    if imported_folder(path) is not None:
        raise CheckpointError(
            f"{path} was imported or merged, and stands alone already: there is nothing to merge."
        )
    file = path / TUNED if (path / TUNED).is_file() else weights_file(path)
    run = _read(file)
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
    load_starting_weights(network, [given] if isinstance(given, str) else given or [], own)
    network.load_state_dict(with_backbone(network, run.tensors, run.backbone, str(file)))
    method = sections["tuning"]["method"]
    state = network.tuning.merged_state(network)
    if not any(map(is_added, state)):  # nothing is left beside the network
        sections["tuning"] = {"method": "full"}
    write_saved(SavedModel(description, state, labels=run.labels, tokens=run.tokens), output)
    return MergeReport(method, len(run.tensors), sections["tuning"]["method"])


def _read(file: Path) -> Source:
    is_tuned = file.suffix == ".safetensors"
    loaded = (
        {**read_weights(file), "_extra_state": read_extra(file)} if is_tuned else read_file(file)
    )
    run = run_source(loaded)
    if run is None or run.backbone is None:
        raise CheckpointError(
            f"{file} is not a checkpoint of a run that tuned beside a frozen backbone: there is "
            "nothing to merge. A fully fine-tuned run is whole as it is."
        )
    return run
