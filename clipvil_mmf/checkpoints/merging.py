"""A tuned run and its backbone -> one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.native import (
    CONFIG,
    VOCABULARY,
    Description,
    RunState,
    SavedModel,
    imported_folder,
    read_preprocessing,
    run_config,
    run_file,
    run_sections,
    run_state,
    write_saved,
)
from clipvil_mmf.checkpoints.starting import Task, load_starting_weights
from clipvil_mmf.checkpoints.tuned import TUNED, read_extra, with_backbone
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tuning import is_added
from clipvil_mmf.weight_files import read_file, read_weights


@dataclass
class MergeReport:
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
    file = path / TUNED if (path / TUNED).is_file() else run_file(path)
    run = _read(file)
    config_file = run_config(file)
    if config_file is None:
        raise CheckpointError(
            f"{file}: there is no {CONFIG} beside it, which says what network it belongs to. Put "
            "the run's there."
        )
    config = OmegaConf.load(config_file)
    section = OmegaConf.select(config, "model_config.clipvil")
    sections = run_sections(config, run, str(file))
    network = ClipVilNetwork.from_config(**sections, where=str(config_file))
    task = Task(run.answers, run.tokens, section.get("pretrained_answers"))
    given = section.get("pretrained") if backbone is None else backbone
    load_starting_weights(network, [given] if isinstance(given, str) else given or [], task)
    network.load_state_dict(with_backbone(network, run.network, run.backbone, str(file)))
    method = sections["tuning"]["method"]
    state = network.tuning.merged_state(network)
    if not any(map(is_added, state)):  # nothing is left beside the network
        sections["tuning"] = {"method": "full"}
    description = Description(
        source=file.name,
        layout={"kind": "finetuned"},
        network=sections,
        text_vocabulary=VOCABULARY,
        **read_preprocessing(config),
    )
    merged = SavedModel(description, state, answers=run.answers, tokens=run.tokens)
    write_saved(merged, output)
    return MergeReport(method, len(run.network), sections["tuning"]["method"])


def _read(file: Path) -> RunState:
    if file.suffix == ".safetensors":
        extra = read_extra(file)
        run = run_state({**read_weights(file), "_extra_state": extra})
    else:
        run = run_state(read_file(file))
    if run is None or run.backbone is None:
        raise CheckpointError(
            f"{file} is not a checkpoint of a run that tuned beside a frozen backbone: there is "
            "nothing to merge. A fully fine-tuned run is whole as it is."
        )
    return run
