"""Weights for the network of a run, to start from or to resume, with its labels and words."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.fetched import starting_path
from clipvil_mmf.checkpoints.matching import Source, match
from clipvil_mmf.checkpoints.native import (
    from_tensors,
    imported_folder,
    missing_config,
    read_run_config,
    read_sections,
    refuse_tuned,
    run_config,
    run_source,
    weights_file,
    without_ddp,
)
from clipvil_mmf.checkpoints.published.answers import (
    read_answer_table,
    rows_of,
    take_rows,
)
from clipvil_mmf.checkpoints.published.convert import translate
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.pretraining_answers import pretraining_form
from clipvil_mmf.tuning import is_added
from clipvil_mmf.tuning.method import HEAD, TOWER
from clipvil_mmf.vision.positions import extend_positions
from clipvil_mmf.weight_files import named_tensors, read_file

logger = logging.getLogger(__name__)

TABLE_FILE = "all_ans.json"
# How the names begin of what a visual embedding may do without -> what it is.
_OPTIONAL = {"visual_embedding.positions.": "position embedding", "visual_embedding.box_": "boxes"}
# The tables that a longer grid extends.
_POSITIONS = tuple(f"visual_embedding.positions.{axis}.weight" for axis in ("rows", "columns"))
_START = "model_config.clipvil.pretrained"
_TABLE_KEY = "model_config.clipvil.pretrained_answers"
_VOCAB_KEY = "dataset_config.<dataset>.processors.answer_processor.params.vocab"


@dataclass(frozen=True)
class Run:
    """What a run brings that a checkpoint has to fit."""

    labels: Sequence[str]  # the rows of its head
    tokens: Sequence[str]  # its text vocabulary
    # Path of the pre-training's answer table; None for ``all_ans.json`` beside the checkpoint.
    answer_table: str | None = None
    # Whether its labels are answers, which a pre-training may have known.
    labels_are_answers: bool = True


def starting_weights(network: ClipVilNetwork, path: str | Path, run: Run) -> dict[str, Tensor]:
    """Weights to start from.

    Args:
        network: what they are for; what its tuning method adds may be lacking.
        path: a published or imported checkpoint, what a run of MMF left (its save_dir, or a file
            there), a CLIP model or a BERT; of the hub as ``hf://org/name``.
        run: its labels and words.

    Returns:
        Our names -> tensors; a CLIP model and a BERT give a part of the network.

    Raises:
        CheckpointError: it does not fit the network or the task.
        WeightFileError: it cannot be read.
        HubError: the hub does not give it.
    """
    return _start(network, path, run).weights()


def _start(network: ClipVilNetwork, path: str | Path, run: Run) -> _Fit:
    """A file on its way into a network that starts from it."""
    path = starting_path(path)
    file = weights_file(Path(path)) if Path(path).is_dir() else Path(path)
    loaded = read_file(file)
    source = run_source(loaded)
    refuse_tuned(source, file)
    if source is None:
        source = _recognise(named_tensors(loaded, file), path)
    elif (config := run_config(file)) is not None:
        source.tuning = read_sections(read_run_config(config)).get("tuning")
    return _Fit(network, source, path, run, starts=True)


def load_starting_weights(
    network: ClipVilNetwork, files: Iterable[str | Path], run: Run
) -> set[str]:
    """Load weights to start from, each file over those before it; see :func:`starting_weights`.

    What the tuning method adds begins by its own rule, unless a file has brought it.

    Returns:
        The names of the network that no file has brought, or not all of it, the image encoder's own
        among the files; none where there is no file.
    """
    brought: set[str] = set()
    if network.image_encoder.is_pretrained:
        names = (name for name in network.state_dict() if not is_added(name))
        brought = {name for name in names if name.startswith(TOWER)}
    for file in files:
        fit = _start(network, file, run)
        weights = fit.weights()
        network.load_state_dict(weights, strict=False)  # a tower or a BERT is a part
        brought = (brought | weights.keys()) - fit.extended
    if not any(map(is_added, brought)):
        network.tuning.start_from(network)
    return network.state_dict().keys() - brought if brought else set()


def whole_weights(
    network: ClipVilNetwork, tensors: Mapping[str, Tensor], path: str | Path, run: Run
) -> dict[str, Tensor]:
    """All weights of the network from a published or imported checkpoint that has been read.

    `path` is where its tensors come from; files beside it say more about them.

    Raises:
        CheckpointError: it does not fit, or holds a part of the network alone.
    """
    return _Fit(network, _recognise(tensors, path), path, run, starts=False).weights()


def _recognise(tensors: Mapping[str, Tensor], path: str | Path) -> Source:
    """The tensors of a published or an imported checkpoint."""
    folder = imported_folder(path)
    if folder is not None:
        return from_tensors(folder, tensors).source
    if any(name.startswith(("fusion.", "image_encoder.")) for name in without_ddp(tensors)):
        raise missing_config(path)
    return translate(tensors, str(path)).source


@dataclass
class _Fit:
    """A checkpoint on its way into a network, at a start or for a resume."""

    network: ClipVilNetwork
    source: Source
    path: str | Path
    run: Run
    starts: bool
    # Names of the network that keep their initialisation -> the reason.
    fresh: dict[str, str] = field(default_factory=dict)
    # Names whose tensor begins with the file's, which is shorter.
    extended: set[str] = field(default_factory=set)

    def weights(self) -> dict[str, Tensor]:
        """Our names -> tensors."""
        network, kind = self.network, self.source.kind
        if self.source.part is None:
            self._check_method()
            self._fit_tower()
            reason = self._fit_head()
            if reason is not None:
                self._leave_head(reason)
        elif not self.starts:
            raise CheckpointError(
                f"{self.path} holds a {kind} model alone, which is not a checkpoint to "
                f"resume. Start from it instead: {_START}={self.path}"
            )
        self._check_words()
        if self.starts:
            self._fit_optional()
            self._extend_positions()
        untuned = network.tuning.backbone_name
        found, report = match(network.state_dict(), self.source, untuned, self.fresh, self.path)
        logger.info("%s (%s): %s", self.path, kind, report)
        return found

    def _check_method(self) -> None:
        """Check that what a tuning method has added to the file is what this run's adds."""
        section, given = self.network.tuning.section, self.source.tuning
        theirs = {n: t.shape for n, t in self.source.tensors.items() if is_added(n)}
        ours = {n: t.shape for n, t in self.network.state_dict().items() if is_added(n)}
        if theirs == ours:
            return
        if theirs:
            method = "by another method"
            advice = "Give the run the section tuning that it was trained with."
            if given:
                plain = yaml.safe_dump(dict(given), default_flow_style=True, sort_keys=False)
                method = f"with {_in_words(given)}"
                advice = f"Set model_config.clipvil.tuning to {' '.join(plain.split())}."
            own = f"is tuned with {_in_words(section)}" if ours else "has no such method"
            raise CheckpointError(
                f"{self.path} was tuned {method}, but this run's network {own}. {advice}"
            )
        if not self.starts:
            raise CheckpointError(
                f"{self.path} holds nothing of {_in_words(section)}, with which this run tunes the "
                f"network: there is nothing to resume. Start from it ({_START}={self.path}), or "
                "set model_config.clipvil.tuning to {method: full}."
            )
        self.fresh |= dict.fromkeys(ours, "the tuning method adds them")

    def _fit_optional(self) -> None:
        """Start without what the network, or the file, does not have in its visual embedding."""
        for prefix, what in _OPTIONAL.items():
            theirs = [name for name in self.source.tensors if name.startswith(prefix)]
            ours = [name for name in self.network.state_dict() if name.startswith(prefix)]
            if theirs and not ours:
                spare = dict.fromkeys(theirs, f"the network has no {what}")
                self.source = replace(self.source, spare={**self.source.spare, **spare})
            elif ours and not theirs and self.source.part is None:
                self.fresh |= dict.fromkeys(ours, f"the file has no {what}")

    def _extend_positions(self) -> None:
        """Start from tables of positions that are shorter than the network's, and say so."""
        state, tensors = self.network.state_dict(), dict(self.source.tensors)
        for name in _POSITIONS:
            if name not in tensors or name not in state:
                continue
            theirs, own = tensors[name], state[name]
            if theirs.shape[1:] == own.shape[1:] and len(theirs) < len(own):
                tensors[name] = extend_positions(theirs, own)
                self.extended.add(name)
                logger.info(
                    "%s: %s has %d entries, the network %d: entries %d to %d keep their "
                    "initialisation",
                    *(self.path, self.source.key_of(name), len(theirs), len(own)),
                    *(len(theirs), len(own) - 1),
                )
        self.source = replace(self.source, tensors=tensors)

    def _fit_tower(self) -> None:
        """Do without a tower on one side: where the other's features are read from files."""
        tensors = self.source.tensors
        theirs = [name for name in tensors if name.startswith(TOWER)]
        ours = [name for name in self.network.state_dict() if name.startswith(TOWER)]
        if theirs and not ours:
            reason = "the tower: the network reads its features from files"
            spare = {**dict.fromkeys(theirs, reason), **self.source.spare}
            self.source = replace(self.source, spare=spare)
        elif self.starts and not theirs and self.network.image_encoder.is_pretrained:
            reason = "the file has no tower; image_encoder.params.pretrained brings it"
            self.fresh |= dict.fromkeys(ours, reason)

    def _fit_head(self) -> str | None:
        """Put the rows of the head in the run's order; why it is left out, or None.

        Rows that the file lacks are zero in a pre-trained head, and keep their initialisation in
        another one, at a start alone.
        """
        path, ours, tensors = self.path, list(self.run.labels), self.source.tensors
        state, pretrained = self.network.state_dict(), self.source.kind == "pretrained"
        if self.starts and pretrained and not self.run.labels_are_answers:
            return "the labels of this run are classes, not answers"
        if self.run.answer_table and not pretrained:
            logger.warning("%s is not pre-trained: %s has no effect", path, _TABLE_KEY)
        if self.starts and any(n.startswith(HEAD) and n not in state for n in tensors):
            return "that of the file is of another type"
        if self.starts and pretrained and not any(n.startswith(HEAD) for n in tensors):
            return "the file was pre-trained without answers"
        if self.starts and any(tensors[n].shape != state[n].shape for n in self._shared_of_head()):
            return "that of the file has other widths"
        names = [f"{HEAD}{name}" for name in self.network.classifier.label_tensors]
        names = [name for name in names if name in tensors]
        rows = len(tensors[names[0]]) if names else None
        theirs = self._answer_table() if pretrained else self.source.labels
        if theirs is None and pretrained:
            table = f"the answers of the pre-training, LXMERT's {TABLE_FILE}"
            return f"{table}, are not known ({_TABLE_KEY})"
        if pretrained and rows not in (None, len(theirs)):
            raise CheckpointError(
                f"{path} has an answer head of {rows} rows, but the answer table has {len(theirs)} "
                "answers: it is the table of another pre-training."
            )
        if theirs is None and rows not in (None, len(ours)):
            raise CheckpointError(
                f"{path} answers with {rows} answers, but this run's vocabulary has {len(ours)}: "
                "it was fine-tuned for another task, and its answers are not known. Import it with "
                "the list of its answers (clipvil import --answers FILE) to start from it, or give "
                f"the run the answers it was fine-tuned with ({_VOCAB_KEY})."
            )
        if theirs is None or (theirs == ours and not pretrained):
            return None
        wanted = rows_of(ours, theirs, pretraining_form if pretrained else str)
        lacking = [label for label, row in zip(ours, wanted.tolist(), strict=True) if row < 0]
        known, first = len(ours) - len(lacking), ", ".join(map(repr, lacking[:3]))
        if lacking and not (pretrained or self.starts):
            raise CheckpointError(
                f"{path} was fine-tuned with other answers: {len(lacking)} of this run's are not "
                f"among them ({first}). Give the run the answers it was fine-tuned with "
                f"({_VOCAB_KEY}), or start from it ({_START}={path})."
            )
        if not names:
            return "the head does not say which rows are labels"
        if pretrained and not known:
            return "none of the labels is in the pre-training table"
        for name in names:
            others = None if pretrained else state[name]
            tensors = {**tensors, name: take_rows(tensors[name], wanted, others)}
        self.source = replace(self.source, tensors=tensors)
        level, found = logging.INFO, "the rows of its head are put in this run's order"
        if pretrained:
            found = (
                f"{known} answers found in the pre-training table, {len(lacking)} not; their rows "
                "are zero"
            )
        elif lacking:
            level = logging.WARNING
            found = (
                f"{known} of this run's {len(ours)} labels are among its own, whose rows are "
                f"taken; the others keep their initialisation ({first} ...)"
            )
        logger.log(level, "%s: %s", path, found)
        return None

    def _shared_of_head(self) -> list[str]:
        """The head's tensors that do not have a row for each label."""
        rows = {f"{HEAD}{name}" for name in self.network.classifier.label_tensors}
        names = (name for name in self.network.state_dict() if name.startswith(HEAD))
        return [name for name in names if name not in rows and name in self.source.tensors]

    def _answer_table(self) -> list[str] | None:
        """The answers of a pre-trained head; None where a start does without them."""
        if self.source.labels is not None:
            return self.source.labels
        given, path = self.run.answer_table, Path(self.path)
        file = Path(given) if given else (path if path.is_dir() else path.parent) / TABLE_FILE
        if file.is_file():
            return read_answer_table(file)
        if self.starts and not given:
            return None
        raise CheckpointError(
            f"{self.path} is pre-trained: its answer head has a row for each answer of the "
            f"pre-training, and the list of these, LXMERT's data/lxmert/{TABLE_FILE}, is not at "
            f"{file}. Put it there or name it: {_TABLE_KEY}=PATH"
        )

    def _leave_head(self, reason: str) -> None:
        """Take the trunk alone."""
        logger.warning("the head keeps its initialisation: %s", reason)
        names = (name for name in self.network.state_dict() if name.startswith(HEAD))
        self.fresh |= dict.fromkeys(names, reason)
        trunk = {n: t for n, t in self.source.tensors.items() if not n.startswith(HEAD)}
        self.source = replace(self.source, tensors=trunk)

    def _check_words(self) -> None:
        """The token ids of the run must mean what they meant to the checkpoint."""
        words = self.source.tensors.get("fusion.embeddings.word.weight")
        ours = self.network.fusion.config.vocab_size
        if self.source.tokens not in (None, list(self.run.tokens)):
            problem = "was trained with"
        elif words is not None and len(words) != ours:
            problem = f"has {len(words)} word pieces, but this run's network has {ours}: it is of"
        else:
            return
        raise CheckpointError(
            f"{self.path} {problem} another text vocabulary. Give the run the vocabulary it was "
            "trained with (dataset_config.<dataset>.processors.text_processor.params.vocab; the "
            "published one is bert-base-uncased)."
        )


def _in_words(section: Mapping[str, Any]) -> str:
    """A section `tuning` for a message: ``unipt (reduction_factor 2)``."""
    params = ", ".join(f"{key} {value}" for key, value in (section.get("params") or {}).items())
    return f"{section['method']} ({params})" if params else section["method"]
