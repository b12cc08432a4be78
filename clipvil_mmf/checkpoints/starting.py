"""Weights of other formats for the network of a run, with the run's answers and words."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from clipvil_mmf.checkpoints.answers import map_answers, read_answer_table, take_rows
from clipvil_mmf.checkpoints.errors import CheckpointError
from clipvil_mmf.checkpoints.layouts import Kind, canonical, detect_layout, take_shared_tasks
from clipvil_mmf.checkpoints.loading import match
from clipvil_mmf.checkpoints.names_tuning import adds, is_added
from clipvil_mmf.checkpoints.saved import (
    WEIGHTS,
    from_tensors,
    imported_folder,
    missing_config,
    refuse_tuned,
    run_file,
    run_state,
)
from clipvil_mmf.checkpoints.shapes import infer_tuning
from clipvil_mmf.checkpoints.tables import table_for, table_of_published
from clipvil_mmf.weight_files import named_tensors, read_file

logger = logging.getLogger(__name__)

TABLE_FILE = "all_ans.json"
_HEAD = ("logit_fc.3.weight", "logit_fc.3.bias")
_PARTIAL = (Kind.clip, Kind.bert)


@dataclass(frozen=True)
class Task:
    """What a run brings that a checkpoint has to fit.

    Args:
        answers: the rows of its classifier.
        tokens: its text vocabulary.
        answer_table: path of the pre-training's answer table; None for ``all_ans.json`` beside
            the checkpoint.
    """

    answers: Sequence[str]
    tokens: Sequence[str]
    answer_table: str | None = None


@dataclass
class _Source:
    """A checkpoint under the names of `BEST.pth`, and what is known about it."""

    kind: Kind
    tensors: dict[str, Tensor]
    answers: list[str] | None = None
    tokens: list[str] | None = None


def starting_weights(network: nn.Module, path: str | Path, task: Task) -> dict[str, Tensor]:
    """Weights to start from.

    Args:
        network: what they are for; what its tuning method adds may be lacking.
        path: a published or imported checkpoint, what a run of MMF left (its save_dir, or a file
            there), a CLIP model or a BERT.
        task: the run's.

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
    run = run_state(loaded)
    if run is not None:
        refuse_tuned(run, file)
        source = _Source(Kind.finetuned, _published(run.network), run.answers, run.tokens)
    else:
        source = _recognise(named_tensors(loaded, file), path)
    return _fit(network, source, path, task, starts=True)


def load_starting_weights(network: nn.Module, files: Iterable[str | Path], task: Task) -> None:
    """Load weights to start from, later files winning; see :func:`starting_weights`.

    What the tuning method adds begins by its own rule, unless a file has brought it.
    """
    brought = False
    for file in files:
        weights = starting_weights(network, file, task)
        # A tower or a BERT is a part.
        network.load_state_dict(weights, strict=False)
        brought = brought or any(map(adds, weights))
    if not brought:
        network.tuning.start_from(network)


def whole_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, task: Task
) -> dict[str, Tensor]:
    """All weights of the network from a published or imported checkpoint that has been read.

    Args:
        network: what the weights are for.
        tensors: as they lie in the file.
        path: where they come from; files beside it say more about them.
        task: the run's.

    Raises:
        CheckpointError: it does not fit, or holds a part of the network alone.
    """
    return _fit(network, _recognise(tensors, path), path, task, starts=False)


def _fit(
    network: nn.Module, source: _Source, path: str | Path, task: Task, starts: bool
) -> dict[str, Tensor]:
    if source.kind in _PARTIAL and not starts:
        raise CheckpointError(
            f"{path} holds a {source.kind.value} model alone, which is no checkpoint to resume. "
            f"Start from it instead: model_config.clipvil.pretrained={path}"
        )
    if source.kind is Kind.pretrained:
        _make_task_head(source, path, task)
    elif source.kind is Kind.finetuned:
        _order_answers(source, path, task)
    _check_words(source, path, task, network)
    expected = network.state_dict()
    if source.kind not in _PARTIAL and not _check_method(source, path, expected, starts):
        # What the method adds begins as it was built.
        expected = {name: value for name, value in expected.items() if not adds(name)}
    try:
        found, report = match(expected, source.tensors, partial=source.kind in _PARTIAL)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    logger.info("%s (%s): %s", path, source.kind.value, report)
    return found


def _recognise(tensors: Mapping[str, Tensor], path: str | Path) -> _Source:
    folder = imported_folder(path)
    if folder is None:
        if any(name.startswith(("fusion.", "image_encoder.")) for name in tensors):
            raise CheckpointError(missing_config(path))
        layout = detect_layout(tensors, str(path))
        published = canonical(tensors, layout)
        take_shared_tasks(published, str(path))
        return _Source(layout.kind, published)
    saved = from_tensors(folder, tensors)
    return _Source(saved.layout.kind, _published(saved.network), saved.answers, saved.tokens)


def _published(network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors under the names of `BEST.pth`."""
    table = table_for(network)
    return {table.published(name): tensor for name, tensor in network.items()}


def _check_method(
    source: _Source, path: str | Path, expected: Mapping[str, Tensor], starts: bool
) -> bool:
    """Whether the checkpoint has what this run's tuning method adds; it may lack it at a start.

    Raises:
        CheckpointError: it has what another method adds, or there is nothing of it to resume.
    """
    table = table_of_published(source.tensors)
    named = {table.ours(key) or key: value for key, value in source.tensors.items()}
    theirs, ours = _tuning(named), _tuning(expected)
    if theirs == ours:
        return True
    if theirs is not None or any(map(is_added, source.tensors)):
        method = "by a method that is not known" if theirs is None else f"with {in_words(theirs)}"
        own = "has no such method" if ours is None else f"is tuned with {in_words(ours)}"
        advice = "" if theirs is None else f" Set model_config.clipvil.tuning to {in_yaml(theirs)}."
        raise CheckpointError(f"{path} was tuned {method}, but this run's network {own}.{advice}")
    if not starts:
        raise CheckpointError(
            f"{path} holds nothing of {in_words(ours)}, with which this run tunes the network: "
            f"there is nothing to resume. Start from it (model_config.clipvil.pretrained={path}), "
            "or set model_config.clipvil.tuning to {method: full}."
        )
    return False


def in_words(section: Mapping[str, Any]) -> str:
    """A section `tuning` for a message: ``unipt (reduction_factor 2)``."""
    params = ", ".join(f"{key} {value}" for key, value in (section.get("params") or {}).items())
    return f"{section['method']} ({params})" if params else section["method"]


def in_yaml(section: Mapping[str, Any]) -> str:
    """The same in one line of yaml."""
    return yaml.safe_dump(
        dict(section), default_flow_style=True, sort_keys=False, width=999
    ).strip()


def _tuning(named: Mapping[str, Tensor]) -> dict[str, Any] | None:
    return infer_tuning({name: tuple(value.shape) for name, value in named.items()})


def _make_task_head(source: _Source, path: str | Path, task: Task) -> None:
    table = source.answers
    if table is None:
        beside = Path(path) if Path(path).is_dir() else Path(path).parent
        file = Path(task.answer_table) if task.answer_table else beside / TABLE_FILE
        if not file.is_file():
            raise CheckpointError(
                f"{path} is pre-trained: its answer head has a row for each answer of the "
                f"pre-training, and the list of these, LXMERT's data/lxmert/{TABLE_FILE}, is not "
                f"at {file}. Put it there or name it: "
                "model_config.clipvil.pretrained_answers=PATH"
            )
        table = read_answer_table(file)
    rows = _head_rows(source)
    if rows != len(table):
        raise CheckpointError(
            f"{path} has an answer head of {rows} rows, but the answer table has {len(table)} "
            "answers: it is the table of another pre-training."
        )
    mapped = map_answers(task.answers, table)
    logger.info("%s: %s; their rows are zero", path, mapped)
    _take(source, mapped.rows)


def _order_answers(source: _Source, path: str | Path, task: Task) -> None:
    """Put the rows of a head whose answers are known in the run's order."""
    theirs, ours = source.answers, list(task.answers)
    rows = _head_rows(source)
    if rows is not None and rows != len(ours):
        raise CheckpointError(
            f"{path} answers with {rows} answers, but this run's vocabulary has {len(ours)}: it "
            "was fine-tuned for another task. Give the run the answers it was fine-tuned with "
            "(dataset_config.<dataset>.processors.answer_processor.params.vocab)."
        )
    if theirs is None or theirs == ours:
        return
    lacking = [answer for answer in ours if answer not in set(theirs)]
    if lacking:
        raise CheckpointError(
            f"{path} was fine-tuned with other answers: {len(lacking)} of this run's are not among "
            f"them ({', '.join(map(repr, lacking[:3]))}). Give the run the answers it was "
            "fine-tuned with (dataset_config.<dataset>.processors.answer_processor.params.vocab)."
        )
    place = {answer: row for row, answer in enumerate(theirs)}
    _take(source, torch.tensor([place[answer] for answer in ours]))
    logger.info("%s: the rows of its answer head are put in this run's order", path)


def _take(source: _Source, rows: Tensor) -> None:
    for key in _HEAD:
        source.tensors[key] = take_rows(source.tensors[key], rows)


def _head_rows(source: _Source) -> int | None:
    weight = source.tensors.get(_HEAD[0])
    return None if weight is None else len(weight)


def _check_words(source: _Source, path: str | Path, task: Task, network: nn.Module) -> None:
    """The token ids of the run must mean what they meant to the checkpoint."""
    advice = (
        "Give the run the vocabulary it was trained with "
        "(dataset_config.<dataset>.processors.text_processor.params.vocab; the published one is "
        "bert-base-uncased)."
    )
    if source.tokens is not None and source.tokens != list(task.tokens):
        raise CheckpointError(f"{path} was trained with another text vocabulary. {advice}")
    key = table_for(network.state_dict()).published("fusion.embeddings.word.weight")
    theirs = source.tensors.get(key)
    if theirs is None:
        return
    ours = network.fusion.config.vocab_size
    if len(theirs) != ours:
        raise CheckpointError(
            f"{path} has {len(theirs)} word pieces, but this run's network has {ours}: it was "
            f"trained with another text vocabulary. {advice}"
        )
