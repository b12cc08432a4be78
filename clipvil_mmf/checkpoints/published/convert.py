"""Published files and ours: translated, imported into a folder of ours, exported again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.matching import LoadReport, Source, match
from clipvil_mmf.checkpoints.native import (
    SECTIONS,
    VOCABULARY,
    Description,
    SavedModel,
    read_preprocessing,
    read_saved,
    read_sections,
    write_saved,
)
from clipvil_mmf.checkpoints.published.answers import read_answer_table
from clipvil_mmf.checkpoints.published.layouts import (
    Kind,
    Layout,
    detect_layout,
    take_shared_tasks,
)
from clipvil_mmf.checkpoints.published.names import table_for, table_of_published
from clipvil_mmf.checkpoints.published.shapes import infer_network, infer_tuning
from clipvil_mmf.fusion import build_fusion
from clipvil_mmf.layers.published import BERT
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.text.vocabulary import read_tokens
from clipvil_mmf.tuning import is_added
from clipvil_mmf.vision import build_image_encoder
from clipvil_mmf.weight_files import read_weights, write_torch

# BERT's own copy of the word embeddings, in checkpoints with the head for masked words.
_TIED = ("cls.predictions.decoder.weight", f"{BERT}embeddings.word_embeddings.weight")
# Kind -> the parts of the network that it holds.
_PARTS: dict[Kind, tuple[str, ...]] = {
    Kind.finetuned: (*SECTIONS, "num_labels"),
    Kind.pretrained: (*SECTIONS, "num_labels"),
    Kind.clip: ("image_encoder",),
    Kind.bert: ("fusion",),
}
_OPTIONAL = ("visual_embedding", "tuning")


class Published(NamedTuple):
    """A published file, translated."""

    source: Source  # under our names; its keys are those of `BEST.pth`
    layout: Layout  # how its keys are written
    tensors: dict[str, Tensor]  # under the names of `BEST.pth`
    shared: dict[str, str]  # key of a further task -> the key whose tensor it shares


def translate(state: Mapping[str, Tensor], path: str, kind: Kind | None = None) -> Published:
    """Bring a published file's tensors under our names.

    Args:
        state: as the file has it.
        path: the file, for errors.
        kind: what it is known to hold; None to find out.

    Raises:
        CheckpointError: its layout is unknown, or it has tensors of several tasks.
    """
    layout = detect_layout(state, path, kind)
    published = {layout.canonical(key): tensor for key, tensor in state.items()}
    shared = take_shared_tasks(published, path)
    table = table_of_published(published)
    keys = {table.ours(key) or key: key for key in published}
    tensors = {name: published[key] for name, key in keys.items()}
    reasons = {name: table.why_unused(key) for name, key in keys.items()}
    spare = {name: reason for name, reason in reasons.items() if reason is not None}
    tuning = infer_tuning({name: tuple(tensor.shape) for name, tensor in tensors.items()})

    def key_of(name: str) -> str:
        return keys.get(name) or table.find_published(name) or name

    source = Source(layout.kind.value, tensors, tuning=tuning, key_of=key_of, spare=spare)
    return Published(source, layout, published, shared)


class ImportReport(NamedTuple):
    """What became of a checkpoint's tensors."""

    model: SavedModel  # as it was written
    keys: LoadReport  # which of the file's are used, and why the others are not
    shared: int  # tensors of further tasks, which are the same


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

    Raises:
        CheckpointError: a key is unknown, missing or of another shape; a file does not fit.
        WeightFileError: a file cannot be read or written.
        ConfigError: a section of ``config`` is wrong.
    """
    path = Path(path)
    published = translate(read_weights(path), str(path), kind)
    source = published.source
    given = {} if config is None else read_sections(config)
    network = _sections(given, published, str(path))
    with torch.device("meta"):
        expected, untuned = _expected(network)
    found, report = match(expected, source, untuned, file=path)
    unused, tied = {key: published.tensors[key] for key in report.unused}, dict(published.shared)
    copy, original = _TIED
    if _same(unused.get(copy), published.tensors.get(original)):
        del unused[copy]
        tied[copy] = original
    description = Description(
        source=path.name,
        layout={**asdict(published.layout), "kind": source.kind},
        network=network,
        tied=tied,
        **({} if config is None else read_preprocessing(config)),
    )
    model = SavedModel(description, found, unused)
    if answers is not None:
        model.labels = read_answer_table(answers)
        _check_count("answers", len(model.labels), network["num_labels"], answers)
    if vocabulary is not None:
        if not Path(vocabulary).is_file():
            raise CheckpointError(f"{vocabulary}: no such file; expected BERT's vocab.txt.")
        model.tokens = read_tokens(Path(vocabulary))
        words = network["fusion"]["params"]["vocab_size"]
        _check_count("word pieces", len(model.tokens), words, vocabulary)
        description.text_vocabulary = VOCABULARY
    write_saved(model, output)
    return ImportReport(model, report, len(published.shared))


def _sections(given: Mapping[str, Any], published: Published, source: str) -> dict[str, Any]:
    """The sections of a checkpoint's network: from its shapes, under those that are given.

    An image encoder that is given counts as a whole; of the other sections the keys count that are
    not null.

    Raises:
        CheckpointError: the shapes do not say what is not given, or the file lacks a part.
    """
    tensors, kind = published.source.tensors, published.layout.kind
    encoder = "image_encoder."
    described = {
        name: tensor
        for name, tensor in tensors.items()
        if not ("image_encoder" in given and name.startswith(encoder))
    }
    found = infer_network(described, source)
    if len(described) < len(tensors):
        found["image_encoder"] = given["image_encoder"]
    for key in ("visual_embedding", "fusion", "classifier"):
        if key in found and key in given:
            found[key] = _overlay(found[key], given[key])
    # Methods that add no tensors leave no trace in the shapes.
    tuning = given.get("tuning")
    if tuning is not None and tuning.get("method", "full") != "full":
        method = found.setdefault("tuning", tuning)["method"]
        if method != tuning["method"]:
            raise CheckpointError(
                f"{source} was tuned with {method}, but the configuration says tuning.method: "
                f"{tuning['method']}. Leave the section tuning out, or set its method."
            )
        found["tuning"] = _overlay(found["tuning"], tuning)
    parts = _PARTS[kind]
    lacking = [part for part in parts if part not in (*_OPTIONAL, *found)]
    if lacking:
        raise CheckpointError(
            f"{source} holds nothing of the network's {', '.join(lacking)}: it is not a whole "
            f"{kind.value} checkpoint. Fetch it again, or say with --kind what it holds."
        )
    return {part: found[part] for part in parts if part in found}


def _overlay(inferred: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(inferred)
    for key, value in given.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _overlay(merged[key], value)
        elif value is not None:
            merged[key] = value
    return merged


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


def _check_count(what: str, got: int, expected: int, file: str | Path) -> None:
    if got != expected:
        raise CheckpointError(
            f"{file} has {got} {what}, but the checkpoint has {expected}: it is another list than "
            "the one that the checkpoint was trained with."
        )


class ExportReport(NamedTuple):
    """What an exported file holds: numbers of tensors."""

    kind: str
    network: int
    added: int  # by a tuning method
    unused: int


def export_checkpoint(
    model: str | Path, output: str | Path, ddp: bool | None = None
) -> ExportReport:
    """Write an imported checkpoint, or what a run of MMF left, in the published layout.

    An imported checkpoint is written with the keys that it came with, all of them as long as its
    ``unused.safetensors`` is there; a run of MMF with those of `BEST.pth` (without parts that the
    network does not have, such as CLIP's text tower).

    Args:
        model: see :func:`clipvil_mmf.checkpoints.native.read_saved`.
        output: the file to write, a ``.pth``.
        ddp: whether keys get DDP's ``module.``; None for what the imported file had.

    Raises:
        CheckpointError: the model is incomplete, not one of ours, or has a component without a
            published counterpart.
        WeightFileError: a file cannot be read or written.
    """
    saved = read_saved(model)
    table = table_for(saved.network)
    network = {table.published(name): tensor for name, tensor in saved.network.items()}
    tensors: dict[str, Tensor] = {**network, **saved.unused}
    for key, source in saved.description.tied.items():
        tensors[key] = tensors[source]
    described = saved.description.layout
    layout = Layout(**{**described, "kind": Kind(described["kind"])})
    layout = layout if ddp is None else replace(layout, ddp=ddp)
    write_torch({layout.in_file(name): tensor for name, tensor in tensors.items()}, output)
    unused = len(saved.unused) + len(saved.description.tied)
    added = sum(map(is_added, saved.network))
    return ExportReport(layout.kind.value, len(network) - added, added, unused)
