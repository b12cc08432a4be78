"""Weights for the network of a run, to start from or to resume, with its labels and words."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.matching import Source, match
from clipvil_mmf.checkpoints.native import (
    WEIGHTS,
    from_tensors,
    imported_folder,
    missing_config,
    read_run_config,
    read_sections,
    refuse_tuned,
    run_config,
    run_file,
    run_state,
    without_ddp,
)
from clipvil_mmf.checkpoints.published.answers import map_answers, read_answer_table, take_rows
from clipvil_mmf.checkpoints.published.convert import translate
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tuning import is_added
from clipvil_mmf.weight_files import named_tensors, read_file

logger = logging.getLogger(__name__)

TABLE_FILE = "all_ans.json"
TUNED = "tuned.safetensors"
_HEAD = "classifier."
_PRETRAINED = "pretrained"
_VOCAB_KEY = "dataset_config.<dataset>.processors.answer_processor.params.vocab"


@dataclass(frozen=True)
class Run:
    """What a run brings that a checkpoint has to fit.

    Args:
        labels: the rows of its head.
        tokens: its text vocabulary.
        answer_table: path of the pre-training's answer table; None for ``all_ans.json`` beside
            the checkpoint.
    """

    labels: Sequence[str]
    tokens: Sequence[str]
    answer_table: str | None = None


def starting_weights(network: ClipVilNetwork, path: str | Path, run: Run) -> dict[str, Tensor]:
    """Weights to start from.

    Args:
        network: what they are for; what its tuning method adds may be lacking.
        path: a published or imported checkpoint, what a run of MMF left (its save_dir, or a file
            there), a CLIP model or a BERT.
        run: its labels and words.

    Returns:
        Our names -> tensors; a CLIP model and a BERT give a part of the network.

    Raises:
        CheckpointError: it does not fit the network or the task.
        WeightFileError: it cannot be read.
    """
    file = Path(path)
    if file.is_dir():
        file = file / WEIGHTS if (file / WEIGHTS).is_file() else run_file(file)
    loaded = read_file(file)
    left = run_state(loaded)
    if left is None and file.name == TUNED:
        raise CheckpointError(
            f"{file} holds what a tuning method trained, alone. Make one model of it and its "
            f"backbone: clipvil merge {file} --output FOLDER"
        )
    if left is None:
        source = _recognise(named_tensors(loaded, file), path)
    else:
        refuse_tuned(left, file)
        source = Source("run", left.network, left.labels, left.tokens, _tuning_of_run(file))
    return _fit(network, source, path, run, starts=True)


def load_starting_weights(
    network: ClipVilNetwork, files: Iterable[str | Path], run: Run
) -> set[str]:
    """Load weights to start from, each file over those before it; see :func:`starting_weights`.

    What the tuning method adds begins by its own rule, unless a file has brought it.

    Returns:
        The names of the network that no file has brought, the image encoder's own among the files;
        none where there is no file.
    """
    brought: set[str] = set()
    if network.image_encoder.is_pretrained:
        names = (name for name in network.state_dict() if not is_added(name))
        brought = {name for name in names if name.startswith("image_encoder.")}
    for file in files:
        weights = starting_weights(network, file, run)
        # A tower or a BERT is a part.
        network.load_state_dict(weights, strict=False)
        brought |= weights.keys()
    if not any(map(is_added, brought)):
        network.tuning.start_from(network)
    return network.state_dict().keys() - brought if brought else set()


def whole_weights(
    network: ClipVilNetwork, tensors: Mapping[str, Tensor], path: str | Path, run: Run
) -> dict[str, Tensor]:
    """All weights of the network from a published or imported checkpoint that has been read.

    Args:
        network: what the weights are for.
        tensors: as they lie in the file.
        path: where they come from; files beside it say more about them.
        run: its labels and words.

    Raises:
        CheckpointError: it does not fit, or holds a part of the network alone.
    """
    return _fit(network, _recognise(tensors, path), path, run, starts=False)


def _fit(
    network: ClipVilNetwork, source: Source, path: str | Path, run: Run, starts: bool
) -> dict[str, Tensor]:
    part = source.part
    if part is not None and not starts:
        raise CheckpointError(
            f"{path} holds a {source.kind} model alone, which is not a checkpoint to resume. "
            f"Start from it instead: model_config.clipvil.pretrained={path}"
        )
    fresh: dict[str, str] = {}
    if part is None:
        fresh |= _fit_method(network, source, path, starts)
        if run.answer_table and source.kind != _PRETRAINED:
            logger.warning(
                "%s is not pre-trained: model_config.clipvil.pretrained_answers has no effect", path
            )
        if starts and _has_another_head(network, source):
            source, of_head = _without_head(network, source, "that of the file is of another type")
        elif source.kind == _PRETRAINED:
            source, of_head = _from_table(network, source, path, run, starts)
        else:
            source, of_head = _by_label(network, source, path, run, starts)
        fresh |= of_head
    _check_words(network, source, path, run)
    try:
        found, report = match(network.state_dict(), source, network.tuning.backbone_name, fresh)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    logger.info("%s (%s): %s", path, source.kind, report)
    return found


def _recognise(tensors: Mapping[str, Tensor], path: str | Path) -> Source:
    """The tensors of a published or an imported checkpoint."""
    folder = imported_folder(path)
    if folder is not None:
        return from_tensors(folder, tensors).source
    if any(name.startswith(("fusion.", "image_encoder.")) for name in without_ddp(tensors)):
        raise CheckpointError(missing_config(path))
    return translate(tensors, str(path)).source


def _tuning_of_run(file: Path) -> Mapping[str, Any] | None:
    """The section `tuning` of the run that left a file, where its configuration is there."""
    config = run_config(file)
    return None if config is None else read_sections(read_run_config(config)).get("tuning")


def _fit_method(
    network: ClipVilNetwork, source: Source, path: str | Path, starts: bool
) -> dict[str, str]:
    """Check that what a tuning method has added to a checkpoint is what this run's adds.

    Returns:
        What the method adds and the checkpoint lacks -> the reason; none but at a start.

    Raises:
        CheckpointError: another method has added it, or there is nothing of it to resume.
    """
    theirs = {n: t.shape for n, t in source.tensors.items() if is_added(n)}
    ours = {n: t.shape for n, t in network.state_dict().items() if is_added(n)}
    if theirs == ours:
        return {}
    section = network.tuning.section
    if theirs:
        method = f"with {in_words(source.tuning)}" if source.tuning else "by another method"
        own = f"is tuned with {in_words(section)}" if ours else "has no such method"
        advice = (
            f" Set model_config.clipvil.tuning to {in_yaml(source.tuning)}."
            if source.tuning
            else " Give the run the section tuning that it was trained with."
        )
        raise CheckpointError(f"{path} was tuned {method}, but this run's network {own}.{advice}")
    if not starts:
        raise CheckpointError(
            f"{path} holds nothing of {in_words(section)}, with which this run tunes the network: "
            f"there is nothing to resume. Start from it (model_config.clipvil.pretrained={path}), "
            "or set model_config.clipvil.tuning to {method: full}."
        )
    return dict.fromkeys(ours, "the tuning method adds them")


def in_words(section: Mapping[str, Any]) -> str:
    """A section `tuning` for a message: ``unipt (reduction_factor 2)``."""
    params = ", ".join(f"{key} {value}" for key, value in (section.get("params") or {}).items())
    return f"{section['method']} ({params})" if params else section["method"]


def in_yaml(section: Mapping[str, Any]) -> str:
    """The same in one line of yaml."""
    return yaml.safe_dump(
        dict(section), default_flow_style=True, sort_keys=False, width=999
    ).strip()


def _from_table(
    network: ClipVilNetwork, source: Source, path: str | Path, run: Run, starts: bool
) -> tuple[Source, dict[str, str]]:
    """Make the head of a pre-trained checkpoint the run's, by the table of its answers.

    Returns:
        The source with the run's rows, and what of the network keeps its initialisation.
    """
    beside = Path(path) if Path(path).is_dir() else Path(path).parent
    file = Path(run.answer_table) if run.answer_table else beside / TABLE_FILE
    table = source.labels
    if table is None and (file.is_file() or run.answer_table or not starts):
        if not file.is_file():
            raise CheckpointError(
                f"{path} is pre-trained: its answer head has a row for each answer of the "
                f"pre-training, and the list of these, LXMERT's data/lxmert/{TABLE_FILE}, is not "
                f"at {file}. Put it there or name it: "
                "model_config.clipvil.pretrained_answers=PATH"
            )
        table = read_answer_table(file)
    if table is None:
        reason = (
            f"the answers of the pre-training, LXMERT's {TABLE_FILE}, are not known "
            "(model_config.clipvil.pretrained_answers)"
        )
        return _without_head(network, source, reason)
    rows = _head_rows(network, source)
    if rows is not None and rows != len(table):
        raise CheckpointError(
            f"{path} has an answer head of {rows} rows, but the answer table has {len(table)} "
            "answers: it is the table of another pre-training."
        )
    mapped = map_answers(run.labels, table)
    if len(mapped.missing) == len(run.labels):
        return _without_head(network, source, "none of the labels is in the pre-training table")
    logger.info("%s: %s; their rows are zero", path, mapped)
    tensors = {n: take_rows(source.tensors[n], mapped.rows) for n in _label_names(network, source)}
    return replace(source, tensors={**source.tensors, **tensors}), {}


def _by_label(
    network: ClipVilNetwork, source: Source, path: str | Path, run: Run, starts: bool
) -> tuple[Source, dict[str, str]]:
    """Put the rows of a head whose labels are known in the run's order.

    At a start, labels that the checkpoint does not know keep their initialisation.
    """
    theirs, ours = source.labels, list(run.labels)
    rows = _head_rows(network, source)
    if theirs is None and rows is not None and rows != len(ours):
        raise CheckpointError(
            f"{path} answers with {rows} answers, but this run's vocabulary has {len(ours)}: it "
            "was fine-tuned for another task, and its answers are not known. Import it with the "
            "list of its answers (clipvil import --answers FILE) to start from it, or give the run "
            f"the answers it was fine-tuned with ({_VOCAB_KEY})."
        )
    if theirs is None or theirs == ours:
        return source, {}
    place = {label: row for row, label in enumerate(theirs)}
    wanted = torch.tensor([place.get(label, -1) for label in ours])
    lacking = [label for label in ours if label not in place]
    if lacking and not starts:
        raise CheckpointError(
            f"{path} was fine-tuned with other answers: {len(lacking)} of this run's are not among "
            f"them ({', '.join(map(repr, lacking[:3]))}). Give the run the answers it was "
            f"fine-tuned with ({_VOCAB_KEY}), or start from it "
            f"(model_config.clipvil.pretrained={path})."
        )
    names = _label_names(network, source)
    if not names:
        return _without_head(network, source, "the head does not say which rows are labels")
    tensors = dict(source.tensors)
    state = network.state_dict()
    for name in names:
        taken = take_rows(tensors[name], wanted)
        if lacking:
            taken[wanted < 0] = state[name][wanted < 0].to(taken)
        tensors[name] = taken
    if lacking:
        logger.warning(
            "%s: %d of this run's %d labels are among its own, whose rows are taken; the others "
            "keep their initialisation (%s ...)",
            path,
            len(ours) - len(lacking),
            len(ours),
            ", ".join(map(repr, lacking[:3])),
        )
    else:
        logger.info("%s: the rows of its head are put in this run's order", path)
    return replace(source, tensors=tensors), {}


def _without_head(
    network: ClipVilNetwork, source: Source, reason: str
) -> tuple[Source, dict[str, str]]:
    """The trunk alone: the head of the network keeps its initialisation."""
    spare = {name: reason for name in source.tensors if name.startswith(_HEAD)}
    fresh = {name: reason for name in network.state_dict() if name.startswith(_HEAD)}
    logger.warning("the head keeps its initialisation: %s", reason)
    tensors = {name: tensor for name, tensor in source.tensors.items() if name not in spare}
    return replace(source, tensors=tensors), fresh


def _has_another_head(network: ClipVilNetwork, source: Source) -> bool:
    """Whether the source's head has tensors that the network's has not."""
    ours = network.state_dict().keys()
    return any(name.startswith(_HEAD) and name not in ours for name in source.tensors)


def _label_names(network: ClipVilNetwork, source: Source) -> list[str]:
    """The tensors of a head that have a row for each label, as far as the source has them."""
    names = [f"{_HEAD}{name}" for name in network.classifier.label_tensors]
    return [name for name in names if name in source.tensors]


def _head_rows(network: ClipVilNetwork, source: Source) -> int | None:
    names = _label_names(network, source)
    return len(source.tensors[names[0]]) if names else None


def _check_words(network: ClipVilNetwork, source: Source, path: str | Path, run: Run) -> None:
    """The token ids of the run must mean what they meant to the checkpoint."""
    advice = (
        "Give the run the vocabulary it was trained with "
        "(dataset_config.<dataset>.processors.text_processor.params.vocab; the published one is "
        "bert-base-uncased)."
    )
    if source.tokens is not None and source.tokens != list(run.tokens):
        raise CheckpointError(f"{path} was trained with another text vocabulary. {advice}")
    theirs = source.tensors.get("fusion.embeddings.word.weight")
    if theirs is None:
        return
    ours = network.fusion.config.vocab_size
    if len(theirs) != ours:
        raise CheckpointError(
            f"{path} has {len(theirs)} word pieces, but this run's network has {ours}: it was "
            f"trained with another text vocabulary. {advice}"
        )
