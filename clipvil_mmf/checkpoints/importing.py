"""Published checkpoint -> folder with the weights in safetensors and all that they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipvil_mmf.checkpoints.answers import read_answer_table
from clipvil_mmf.checkpoints.errors import CheckpointError
from clipvil_mmf.checkpoints.layouts import (
    Kind,
    canonical,
    detect_layout,
    take_shared_tasks,
)
from clipvil_mmf.checkpoints.loading import LoadReport, match
from clipvil_mmf.checkpoints.names_joint import BERT
from clipvil_mmf.checkpoints.saved import (
    SECTIONS,
    Description,
    SavedModel,
    complete_sections,
    read_preprocessing,
    read_sections,
    write_saved,
)
from clipvil_mmf.checkpoints.tables import table_of_published
from clipvil_mmf.fusion import build_fusion
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
    """What became of a checkpoint's tensors."""

    model: SavedModel
    keys: LoadReport
    tied: dict[str, str]


def import_checkpoint(
    path: str | Path,
    output: str | Path,
    kind: Kind | None = None,
    config: Any = None,
    answers: str | Path | None = None,
    vocabulary: str | Path | None = None,
) -> ImportReport:
    """Import a published checkpoint into a new folder, see :mod:`clipvil_mmf.checkpoints.saved`.

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
    model, keys = read_published(path, kind, config)
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
    return ImportReport(model, keys, model.description.tied)


def read_published(
    path: str | Path, kind: Kind | None = None, config: Any = None
) -> tuple[SavedModel, LoadReport]:
    """Read a published checkpoint, and check it against the network that it describes.

    Arguments and errors are those of :func:`import_checkpoint`.
    """
    path = Path(path)
    state = read_weights(path)
    layout = detect_layout(state, str(path), kind)
    published = canonical(state, layout)
    tied = take_shared_tasks(published, str(path))
    table = table_of_published(published)
    named = {table.ours(key) or key: tensor for key, tensor in published.items()}
    sections = complete_sections({} if config is None else read_sections(config), named, str(path))
    network = _parts(sections, layout.kind, str(path))
    with torch.device("meta"):
        expected = _expected(network)
    try:
        found, report = match(expected, published, table)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    unused = {key: published[key] for key in report.unused}
    if _same(unused.get(_TIED[0]), published.get(_TIED[1])):
        del unused[_TIED[0]]
        tied[_TIED[0]] = _TIED[1]
    description = Description(
        source=path.name,
        layout={**asdict(layout), "kind": layout.kind.value},
        network=network,
        tied=tied,
        **({} if config is None else read_preprocessing(config)),
    )
    return SavedModel(description, found, unused), report


def _parts(sections: Mapping[str, Any], kind: Kind, source: str) -> dict[str, Any]:
    """The sections that a checkpoint of this kind has; they must be there."""
    wanted = [part for part in _PARTS[kind] if part not in ("visual_embedding", "tuning")]
    lacking = [part for part in wanted if part not in sections]
    if lacking:
        raise CheckpointError(
            f"{source} holds nothing of the network's {', '.join(lacking)}: it is no whole "
            f"{kind.value} checkpoint. Fetch it again, or say with --kind what it holds."
        )
    extra = ("num_labels",) if "classifier" in wanted else ()
    return {part: sections[part] for part in (*_PARTS[kind], *extra) if part in sections}


def _expected(network: Mapping[str, Any]) -> dict[str, Tensor]:
    """Names and shapes of the network that these sections describe, or of its one part."""
    if "classifier" in network:
        return ClipVilNetwork.from_config(**network, where="network").state_dict()
    holder = nn.Module()
    if "fusion" in network:
        holder.fusion = build_fusion(network["fusion"], "network.fusion")
    if "image_encoder" in network:
        encoder = build_image_encoder(network["image_encoder"], "network.image_encoder")
        holder.image_encoder = encoder
    return holder.state_dict()


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
