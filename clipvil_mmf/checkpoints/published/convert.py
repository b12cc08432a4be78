"""Published files and ours: translated, imported into a folder of ours, exported again.

Which network a file is for is read off the shapes of its tensors. What these cannot say takes the
published value (64 channels an attention head, the dropout), unless a configuration is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.matching import PRETRAINING, LoadReport, Source, match
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
from clipvil_mmf.fusion import build_fusion
from clipvil_mmf.layers.published import BERT
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tasks import build_task
from clipvil_mmf.text.vocabulary import read_tokens
from clipvil_mmf.tuning import is_added
from clipvil_mmf.vision import build_image_encoder
from clipvil_mmf.vision.hub_towers import as_open_clip
from clipvil_mmf.weight_files import read_weights, write_torch

# BERT's own copy of the word embeddings, in checkpoints with the head for masked words.
_TIED = ("cls.predictions.decoder.weight", f"{BERT}embeddings.word_embeddings.weight")
# Kind -> the parts of the network that it holds, where these are not all.
_PARTS: dict[Kind, tuple[str, ...]] = {Kind.clip: ("image_encoder",), Kind.bert: ("fusion",)}
_OPTIONAL = ("visual_embedding", "tuning")
_HEAD_WIDTH = 64
# Bottleneck blocks and stem width of OpenAI's ResNets -> name.
_RESNETS: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 4, 6, 3), 64): "RN50",
    ((3, 4, 23, 3), 64): "RN101",
    ((4, 6, 10, 6), 80): "RN50x4",
    ((6, 8, 18, 8), 96): "RN50x16",
    ((3, 15, 36, 10), 128): "RN50x64",
}
# Side network -> its last matrix, from its width to the fusion's.
_SIDES = {
    "unipt": "tuning.output.weight",
    "ladder": "tuning.up.weight",
    "sherl": "tuning.out.weight",
}


class Published(NamedTuple):
    """A published file, translated."""

    source: Source  # under our names; its keys are those of `BEST.pth`
    layout: Layout  # how its keys are written
    tensors: dict[str, Tensor]  # under the names of `BEST.pth`
    shared: dict[str, str]  # key of a further task -> the key whose tensor it shares


def translate(state: Mapping[str, Tensor], path: str, kind: Kind | None = None) -> Published:
    """Bring the tensors of a published file under our names, of a known kind or not.

    Raises:
        CheckpointError: its layout is unknown, or it has tensors of several tasks.
    """
    state = as_open_clip(state)
    layout = detect_layout(state, path, kind)
    published = {layout.canonical(key): tensor for key, tensor in state.items()}
    shared = take_shared_tasks(published, path)
    table = table_of_published(published)
    keys = {table.ours(key) or key: key for key in published}
    tensors = {name: published[key] for name, key in keys.items()}
    reasons = {name: table.why_unused(key) for name, key in keys.items()}
    spare = {name: reason for name, reason in reasons.items() if reason is not None}
    tuning = _infer_tuning(_Shapes(tensors))
    for name in _gates_beside_nothing(tensors):
        spare[name] = "gates of layers that the ladder has nothing beside"

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
    preprocessing = {} if config is None else read_preprocessing(config)
    task = build_task(preprocessing.get("task", "vqa"), "task")
    with torch.device("meta"):
        module = _build(network, task.passes)
    untuned = module.tuning.backbone_name if "classifier" in network else str
    found, report = match(module.state_dict(), source, untuned, file=path)
    unused, tied = {key: published.tensors[key] for key in report.unused}, dict(published.shared)
    copy, original = _TIED
    tensors = unused.get(copy), published.tensors.get(original)
    if None not in tensors and tensors[0].dtype == tensors[1].dtype and torch.equal(*tensors):
        del unused[copy]
        tied[copy] = original
    description = Description(
        source=path.name,
        layout={**asdict(published.layout), "kind": source.kind},
        network=network,
        tied=tied,
        **preprocessing,
    )
    model = SavedModel(description, found, unused)
    if answers is not None:
        model.labels = read_answer_table(answers)
        _check_count("answers", model.labels, network["num_labels"], answers)
    if vocabulary is not None:
        if not Path(vocabulary).is_file():
            raise CheckpointError(f"{vocabulary}: no such file; expected BERT's vocab.txt.")
        model.tokens = read_tokens(Path(vocabulary))
        words = network["fusion"]["params"]["vocab_size"]
        _check_count("word pieces", model.tokens, words, vocabulary)
        description.text_vocabulary = VOCABULARY
    write_saved(model, output)
    return ImportReport(model, report, len(published.shared))


def _check_count(what: str, got: list[str], expected: int, file: str | Path) -> None:
    if len(got) != expected:
        raise CheckpointError(
            f"{file} has {len(got)} {what}, but the checkpoint has {expected}: it is another list "
            "than the one that the checkpoint was trained with."
        )


def _build(network: Mapping[str, Any], passes: int) -> nn.Module:
    """The network that these sections describe, or its one part under its name there."""
    if "classifier" in network:
        return ClipVilNetwork.from_config(**network, where="network", passes=passes)
    part, build = (
        ("fusion", build_fusion) if "fusion" in network else ("image_encoder", build_image_encoder)
    )
    return nn.ModuleDict({part: build(network[part], f"network.{part}")})


def _sections(given: Mapping[str, Any], published: Published, source: str) -> dict[str, Any]:
    """The sections of a checkpoint's network: from its shapes, under those that are given.

    An image encoder that is given counts as a whole; of the other sections the keys count that are
    not null. What neither says, or a part that is not there, is a CheckpointError.
    """
    shapes, kind = _Shapes(published.source.tensors), published.layout.kind
    found = {}
    if "image_encoder" in given and shapes.drop("image_encoder."):
        found["image_encoder"] = given["image_encoder"]
    try:
        found |= _infer_network(shapes)
    except KeyError as error:
        raise CheckpointError(
            f"{source}: the network cannot be told by the shapes, because {error.args[0]}. Give "
            "its image_encoder, visual_embedding, fusion and classifier in a yaml file: --config"
        ) from error
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
    parts = _PARTS.get(kind, (*SECTIONS, "num_labels"))
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


class _Shapes(dict[str, tuple[int, ...]]):
    """The shapes of tensors by our names; for one that is not there the KeyError says so."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__({name: tuple(tensor.shape) for name, tensor in tensors.items()})

    def __missing__(self, name: str) -> tuple[int, ...]:
        raise KeyError(f"it lacks {name}")

    def some(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self)

    def drop(self, prefix: str) -> int:
        """Take out what begins so; how many there were."""
        return sum(self.pop(name) is not None for name in [*self] if name.startswith(prefix))

    def count(self, prefix: str) -> int:
        """How many layers there are whose names begin so, numbered from 0."""
        found = [re.match(rf"{re.escape(prefix)}(\d+)\.", name) for name in self]
        return 1 + max((int(match[1]) for match in found if match), default=-1)


def _infer_network(shapes: _Shapes) -> dict[str, Any]:
    """The sections of the parts that are there, and ``num_labels``; a KeyError says why not."""
    network: dict[str, Any] = {}
    if shapes.some("image_encoder.tower."):
        network["image_encoder"] = {"type": "clip_grid", "params": _infer_tower(shapes)}
    elif shapes.some("visual_embedding.box_projection."):
        _, features = shapes["visual_embedding.projection.weight"]
        _, box = shapes["visual_embedding.box_projection.weight"]
        params = {"feature_size": features, "box_size": box}
        network["image_encoder"] = {"type": "region_features", "params": params}
    if shapes.some("visual_embedding.positions."):
        network["visual_embedding"] = {
            "pos_num": shapes["visual_embedding.positions.rows.weight"][0]
        }
    elif "image_encoder" in network and shapes.some("visual_embedding."):
        is_grid = network["image_encoder"]["type"] == "clip_grid"
        network |= {"visual_embedding": {"pos_num": None}} if is_grid else {}
    if shapes.some("fusion."):
        network["fusion"] = _infer_fusion(shapes)
    if shapes.some("classifier."):
        network["num_labels"], hidden = shapes["classifier.output.weight"]
        network["classifier"] = {"type": "mlp", "params": {"hidden_size": hidden}}
    tuning = _infer_tuning(shapes)
    return network if tuning is None else {**network, "tuning": tuning}


def _infer_tower(shapes: _Shapes) -> dict[str, Any]:
    prefix = "image_encoder.tower."
    blocks = [shapes.count(f"{prefix}layer{stage}.") for stage in (1, 2, 3, 4)]
    if not all(blocks):
        raise KeyError("its tower is not a ResNet")
    width = shapes[f"{prefix}conv3.weight"][0]
    name = _RESNETS.get((tuple(blocks), width))
    return {"name": name} if name else {"tower": {"layers": blocks, "width": width}}


def _infer_fusion(shapes: _Shapes) -> dict[str, Any]:
    words, width = shapes["fusion.embeddings.word.weight"]
    is_cross = shapes.some("fusion.cross_layers.")
    if is_cross:
        stacks = ("language_layers", "cross_layers", "visual_layers")
        depths = {stack: shapes.count(f"fusion.{stack}.") for stack in stacks}
    else:
        depths = {"num_hidden_layers": shapes.count("fusion.layers.")}
    first = "fusion.cross_layers.0.language." if is_cross else "fusion.layers.0."
    params = {
        "hidden_size": width,
        **depths,
        "num_attention_heads": max(1, width // _HEAD_WIDTH),
        "intermediate_size": shapes[f"{first}feed_forward.intermediate.weight"][0],
        "vocab_size": words,
        "max_position_embeddings": shapes["fusion.embeddings.position.weight"][0],
        "type_vocab_size": shapes["fusion.embeddings.segment.weight"][0],
    }
    return {"type": "cross_modal" if is_cross else "joint", "params": params}


def _infer_tuning(shapes: _Shapes) -> dict[str, Any] | None:
    """The section `tuning` of the method that added some of these tensors; None if none did.

    LoRA's scale and dropout leave no trace in a checkpoint; they are the published ones.
    """
    for method, part in _SIDES.items():
        if part in shapes:
            wide, narrow = shapes[part]
            params = {"reduction_factor": wide // narrow}
            return {"method": method, "params": params | _infer_ladder(shapes)}
    if "tuning.attention.0.down.weight" in shapes:
        narrow, wide = shapes["tuning.attention.0.down.weight"]
        gate, visual = "tuning.attention.0.gate" in shapes, shapes.some("tuning.visual.")
        params = {"reduction_factor": wide // narrow, "gate": gate, "visual": visual}
        return {"method": "adapter", "params": params}
    if "tuning.attention.0.down.W_left" in shapes:
        return _infer_factored_adapters(shapes)
    for name, shape in shapes.items():
        if ".lora_A." in name:
            return {"method": "lora", "params": {"dim": shape[0], "alpha": 32, "dropout": 0.1}}
    return None


def _infer_ladder(shapes: _Shapes) -> dict[str, Any]:
    """The `params` of a ladder beside some layers alone, or with a visual projection of its own."""
    layers, params = sorted(map(int, _numbers("tuning.blocks.", shapes))), {}
    if layers and layers != [*range(shapes.count("fusion.layers."))]:
        params["layers"] = layers
    if shapes.some("tuning.visual.projection."):
        params["visual_projection"] = True
    return params


def _gates_beside_nothing(names: Iterable[str]) -> set[str]:
    """The published code has a gate for each layer, whichever have a narrow one beside them."""
    names = list(names)
    lacking = _numbers("tuning.gates.", names) - _numbers("tuning.blocks.", names)
    return {f"tuning.gates.{number}" for number in lacking}


def _numbers(prefix: str, names: Iterable[str]) -> set[str]:
    found = (re.match(rf"{re.escape(prefix)}(\d+)", name) for name in names)
    return {match[1] for match in found if match}


def _infer_factored_adapters(shapes: _Shapes) -> dict[str, Any]:
    """The section `tuning` of adapters whose matrices are products."""
    (width,), (inner,) = (shapes[f"tuning.attention.0.{part}.b"] for part in ("up", "down"))
    *division, _, rank = shapes["tuning.attention.0.down.W_left"]
    params = {"reduction_factor": width // inner, "rank": rank}
    if not division:
        return {"method": "low_rank_adapter", "params": params}
    params |= {"division": division[0], "shared_rule": "tuning.phm_rule" in shapes}
    return {"method": "compacter", "params": params}


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
        model: see :func:`clipvil_mmf.checkpoints.native.read_saved`, also for what is raised.
        output: the file to write, a ``.pth``.
        ddp: whether keys get DDP's ``module.``; None for what the imported file had.

    Raises:
        CheckpointError: a component has no published counterpart.
    """
    saved = read_saved(model)
    table = table_for(saved.network)
    network = {table.published(name): tensor for name, tensor in saved.network.items()}
    tensors: dict[str, Tensor] = {**network, **saved.unused}
    tied = dict(saved.description.tied)
    if any(name.startswith(PRETRAINING) for name in saved.network):
        tied = dict([_TIED])
    for key, source in tied.items():
        tensors[key] = tensors[source]
    described = saved.description.layout
    layout = Layout(**{**described, "kind": Kind(described["kind"])})
    if ddp is not None:
        layout = replace(layout, ddp=ddp)
    write_torch({layout.in_file(name): tensor for name, tensor in tensors.items()}, output)
    unused = len(saved.unused) + len(tied)
    added = sum(map(is_added, saved.network))
    return ExportReport(layout.kind.value, len(network) - added, added, unused)
