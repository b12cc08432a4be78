"""Published checkpoint -> folder with the weights in safetensors and all that they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.matching import LoadReport, match
from clipvil_mmf.checkpoints.native import (
    SECTIONS,
    Description,
    SavedModel,
    read_preprocessing,
    read_sections,
    write_saved,
)
from clipvil_mmf.checkpoints.published.answers import read_answer_table
from clipvil_mmf.checkpoints.published.layouts import Kind
from clipvil_mmf.checkpoints.published.shapes import infer_network
from clipvil_mmf.checkpoints.published.translation import translate
from clipvil_mmf.fusion import build_fusion
from clipvil_mmf.layers.published import BERT
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.text.vocabulary import read_tokens
from clipvil_mmf.vision import build_image_encoder
from clipvil_mmf.weight_files import read_weights

# BERT's own copy of the word embeddings, in checkpoints with the head for masked words.
_TIED = ("cls.predictions.decoder.weight", f"{BERT}embeddings.word_embeddings.weight")
# Kind -> the parts of the network that it holds.
_PARTS: dict[Kind, tuple[str, ...]] = {
    Kind.finetuned: SECTIONS,
    Kind.pretrained: SECTIONS,
    Kind.clip: ("image_encoder",),
    Kind.bert: ("fusion",),
}


@dataclass
class ImportReport:
    """What became of a checkpoint's tensors.

    Args:
        model: as it was written.
        keys: which of the file's are used, and why the others are not.
        shared: how many tensors further tasks share.
    """

    model: SavedModel
    keys: LoadReport
    shared: int


def import_checkpoint(
    path: str | Path,
    output: str | Path,
    kind: Kind | None = None,
    config: Any = None,
    answers: str | Path | None = None,
    vocabulary: str | Path | None = None,
) -> ImportReport:
    """Import a published checkpoint into a new folder, see :mod:`clipvil_mmf.checkpoints.native`.

    Args:
        path: the published file.
        output: the folder to make.
        kind: what the file holds; None to find out.
        config: an OmegaConf node with sections of the network (and a dataset's preprocessing)
            where the shapes and the published values do not say it.
        answers: the file of the answers in the order of the classifier's rows: of a pre-trained
            checkpoint LXMERT's ``all_ans.json``, else the task's ``trainval_label2ans.json``.
        vocabulary: the ``vocab.txt`` of the text; None for ``bert-base-uncased``.

    Returns:
        What was used and what was left.

    Raises:
        CheckpointError: a key is unknown, missing or of another shape; a file does not fit.
        WeightFileError: a file cannot be read or written.
        ConfigError: a section of ``config`` is wrong.
    """
    report = read_published(path, kind, config)
    model = report.model
    if answers is not None:
        model.answers = read_answer_table(answers)
        _check_count(
            "answers", len(model.answers), model.description.network["num_labels"], answers
        )
    if vocabulary is not None:
        model.tokens = _read_vocabulary(Path(vocabulary))
        words = model.description.network["fusion"]["params"]["vocab_size"]
        _check_count("word pieces", len(model.tokens), words, vocabulary)
        model.description.text_vocabulary = "vocab.txt"
    write_saved(model, output)
    return report


def read_published(path: str | Path, kind: Kind | None = None, config: Any = None) -> ImportReport:
    """Read a published checkpoint, and check it against the network that it describes.

    Arguments and errors are those of :func:`import_checkpoint`.
    """
    path = Path(path)
    published = translate(read_weights(path), str(path), kind)
    source, tied = published.source, dict(published.shared)
    given = {} if config is None else read_sections(config)
    sections = complete_sections(given, source.tensors, str(path))
    network = _parts(sections, published.layout.kind, str(path))
    with torch.device("meta"):
        expected, untuned = _expected(network)
    try:
        found, report = match(expected, source, untuned)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    unused = {key: published.tensors[key] for key in report.unused}
    if _same(unused.get(_TIED[0]), published.tensors.get(_TIED[1])):
        del unused[_TIED[0]]
        tied[_TIED[0]] = _TIED[1]
    description = Description(
        source=path.name,
        layout={**asdict(published.layout), "kind": source.kind},
        network=network,
        tied=tied,
        **({} if config is None else read_preprocessing(config)),
    )
    return ImportReport(SavedModel(description, found, unused), report, len(published.shared))


def complete_sections(
    given: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
) -> dict[str, Any]:
    """Fill the sections that are not given, and the values that are null, from the shapes.

    An image encoder counts as a whole; of the other sections the given keys count.

    Raises:
        CheckpointError: the shapes do not say what is not given.
    """
    named = {
        name: tensor
        for name, tensor in tensors.items()
        if not ("image_encoder" in given and name.startswith("image_encoder."))
    }
    inferred = infer_network(named, source)
    if any(name.startswith("image_encoder.") for name in tensors) and "image_encoder" in given:
        inferred["image_encoder"] = given["image_encoder"]
    for key in ("visual_embedding", "fusion", "classifier"):
        if key in inferred and key in given:
            inferred[key] = _overlay(inferred[key], given[key])
    tuning = _tuning(inferred.get("tuning"), given.get("tuning"), source)
    return inferred if tuning is None else {**inferred, "tuning": tuning}


def _tuning(
    inferred: Mapping[str, Any] | None, given: Mapping[str, Any] | None, source: str
) -> Mapping[str, Any] | None:
    """The section `tuning`; methods that add no tensors leave no trace in the shapes."""
    if given is None or given.get("method", "full") == "full":
        return inferred
    if inferred is None:
        return given
    if inferred["method"] != given["method"]:
        raise CheckpointError(
            f"{source} was tuned with {inferred['method']}, but the configuration says "
            f"tuning.method: {given['method']}. Leave the section tuning out, or set its method."
        )
    return _overlay(inferred, given)


def _overlay(inferred: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(inferred)
    for key, value in given.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _overlay(merged[key], value)
        elif value is not None:
            merged[key] = value
    return merged


def _parts(sections: Mapping[str, Any], kind: Kind, source: str) -> dict[str, Any]:
    """The sections that a checkpoint of this kind has; they must be there."""
    wanted = [part for part in _PARTS[kind] if part not in ("visual_embedding", "tuning")]
    lacking = [part for part in wanted if part not in sections]
    if lacking:
        raise CheckpointError(
            f"{source} holds nothing of the network's {', '.join(lacking)}: it is not a whole "
            f"{kind.value} checkpoint. Fetch it again, or say with --kind what it holds."
        )
    extra = ("num_labels",) if "classifier" in wanted else ()
    return {part: sections[part] for part in (*_PARTS[kind], *extra) if part in sections}


def _expected(
    network: Mapping[str, Any],
) -> tuple[dict[str, Tensor], Callable[[str], str | None]]:
    """Names and shapes of the network that these sections describe, or of its one part.

    And what gives the names without its tuning method.
    """
    if "classifier" in network:
        whole = ClipVilNetwork.from_config(**network, where="network")
        return whole.state_dict(), whole.tuning.backbone_name
    holder = nn.Module()
    if "fusion" in network:
        holder.fusion = build_fusion(network["fusion"], "network.fusion")
    if "image_encoder" in network:
        encoder = build_image_encoder(network["image_encoder"], "network.image_encoder")
        holder.image_encoder = encoder
    return holder.state_dict(), str


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b)


def _read_vocabulary(file: Path) -> list[str]:
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file; expected BERT's vocab.txt.")
    return read_tokens(file)


def _check_count(what: str, got: int, expected: int, file: str | Path) -> None:
    if got != expected:
        raise CheckpointError(
            f"{file} has {got} {what}, but the checkpoint has {expected}: it is another list than "
            "the one that the checkpoint was trained with."
        )
