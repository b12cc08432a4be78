"""The registered MMF model ``clipvil``: MMF's batches and configuration around the network."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmf.common.registry import registry
from mmf.models.base_model import BaseModel
from mmf.modules.losses import Losses
from omegaconf import OmegaConf, open_dict, read_write
from torch import nn

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.fetched import is_model
from clipvil_mmf.checkpoints.native import run_source, run_tasks, without_ddp
from clipvil_mmf.checkpoints.starting import Run, load_starting_weights, whole_weights
from clipvil_mmf.checkpoints.tuned import (
    backbone_hash,
    read_extra,
    trainable_names,
    with_backbone,
    write_tuned,
)
from clipvil_mmf.config import ConfigError, check_keys, from_config, list_on_command_line
from clipvil_mmf.loss_functions import NO_CLASS
from clipvil_mmf.losses import GivenLosses
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.next_commands import next_commands
from clipvil_mmf.optim import GroupsConfig, parameter_groups
from clipvil_mmf.paths import config_dir
from clipvil_mmf.pretraining import PretrainingNetwork
from clipvil_mmf.profiling.operations import multiply_adds
from clipvil_mmf.tasks import SOFT, Task, build_task
from clipvil_mmf.tasks.confidence import prediction_params
from clipvil_mmf.tuning import is_added
from clipvil_mmf.tuning.fisher import Sample
from clipvil_mmf.vision import Grid, Regions
from mmf_bridge.common.resuming import choose_checkpoint

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

_WHERE = "model_config.clipvil"
_TEXTS = ("input_ids", "input_mask", "segment_ids")
# `groups` is ours; the last two are MMF main's.
_OPTIMIZER_KEYS = ("type", "params", "groups", "allow_unused_parameters", "enable_state_sharding")


@dataclass
class ClipVilConfig:
    """The section ``model_config.clipvil`` of a yaml file.

    Sections of one component are {type: clip_grid, params: {...}}, or {method: unipt, ...}.
    """

    # Images -> grid features: clip_grid, see vision/clip_grid.py; or region_features.
    image_encoder: dict[str, Any]
    # Text and grid -> one vector: joint, see fusion/joint.py; or cross_modal.
    fusion: dict[str, Any]
    # That vector -> scores: mlp, see heads/mlp.py.
    classifier: dict[str, Any]
    # Grid features -> visual tokens, see vision/embedding.py; null or {} for regions.
    visual_embedding: dict[str, Any] | None = None
    # What is trainable, and what is added beside or inside the network, see tuning/; null
    # fine-tunes everything.
    tuning: dict[str, Any] | None = None
    # Weights to start from, one file or a list, each over those before it: a published checkpoint
    # (fine-tuned or pre-trained), an imported one, what a run of MMF left (its save_dir, or a file
    # there), a CLIP model, a BERT; each also of the hub: hf://org/name, hf://org/name@revision. See
    # docs/checkpoints.md, docs/hub.md.
    pretrained: Any = None
    # The answers of the pre-training, LXMERT's all_ans.json, for pre-trained checkpoints; null
    # looks for that file beside them.
    pretrained_answers: str | None = None
    # MMF's list of losses: [{type: logit_bce}]; null for the loss of the dataset's task.
    losses: list[Any] | None = None
    # The model's name, which MMF sets.
    model: str = "clipvil"
    # MMF's key for downloads; nothing of its model zoo fits, so that it stays [].
    zoo_requirements: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.zoo_requirements:
            raise ConfigError(
                "zoo_requirements: nothing of MMF's model zoo fits clipvil; expected []. "
                "Starting weights are files: pretrained."
            )


@registry.register_model("clipvil")
class ClipVil(BaseModel):
    """CLIP-ViL (arXiv 2107.06383) on raw images, and LXMERT (arXiv 1908.07490) on them or regions.

    What depends on the data comes from the dataset: the task, the number of labels, and the size
    of the text vocabulary where ``fusion.params.vocab_size`` is null. Both vocabularies travel in
    the checkpoint, and loading it for another dataset's vocabulary is an error.

    Raises:
        ConfigError: the configuration has an unknown key, type or value.
    """

    # Whether it reads the batches of `data.builder`.
    reads_images = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._settings = from_config(ClipVilConfig, config, _WHERE)

    @classmethod
    def config_path(cls) -> str:
        """The absolute path of the model's defaults: the published sizes."""
        return str(config_dir() / "models" / "clipvil.yaml")

    @classmethod
    def from_pretrained(cls, model_name_or_path: str, *args: Any, **options: Any) -> ClipVil:
        """A trained model by MMF's own way to one, in evaluation mode.

        Called with a batch it gives its ``scores`` alone, as MMF's pretrained models do. Questions
        about images are asked of :func:`clipvil_mmf.from_pretrained`.

        Args:
            model_name_or_path: as :func:`clipvil_mmf.from_pretrained` takes it: a folder, what a
                run left, a repository of the hub.
            *args: what MMF passes on to its downloads; without effect.
            **options: of :func:`clipvil_mmf.from_pretrained`.

        Raises:
            CheckpointError, HubError, ValueError: as :func:`clipvil_mmf.from_pretrained`.
        """
        # Imported here: a run does without.
        from clipvil_mmf.hub import from_pretrained

        loaded = from_pretrained(model_name_or_path, **options)
        sections = {k: v for k, v in loaded.description.network.items() if k != "num_labels"}
        model = cls(OmegaConf.create(sections))
        model.is_pretrained = True
        model.network, model.task = loaded.network, loaded.task
        model.vocabularies = {"text": loaded.tokens, "answer": loaded.answers}
        model._every_sample_needs_a_class = False
        return model.eval()

    @classmethod
    def answerer(cls, path: str) -> Callable[[Any, str], str] | None:
        """What answers a question about an image by a model that lies there; the bridge asks.

        None where a path names no model of clipvil.
        """
        if not is_model(path):
            return None
        from clipvil_mmf.hub import from_pretrained

        loaded = from_pretrained(path)
        return lambda image, text: loaded.answer(image, text, top_k=1)[0][0]

    def build(self) -> None:
        """Build the network; MMF calls it once the datasets are there."""
        self.vocabularies = {kind: _vocabulary(kind) for kind in ("text", "answer")}
        self.task = _task()
        settings, tokens = self._settings, len(self.vocabularies["text"])
        if settings.pretrained_answers is not None and not _files(settings.pretrained):
            raise ConfigError(
                f"{_WHERE}.pretrained_answers: the answers of a pre-trained checkpoint, but "
                f"{_WHERE}.pretrained names none; set it, or this to null."
            )
        _check_sections(registry.get("config"))
        _judge_by(self.task)
        prediction_params(registry.get("config"), self.task)  # wrong ones end the run before it
        params = dict(settings.fusion.get("params") or {})
        if params.get("vocab_size") is None:
            params["vocab_size"] = tokens
        elif params["vocab_size"] < tokens:
            raise ConfigError(
                f"{_WHERE}.fusion.params.vocab_size: got {params['vocab_size']}, but the dataset's "
                f"text vocabulary has {tokens} tokens; null takes its size from there."
            )
        network_class = PretrainingNetwork if self.task.pretrains else ClipVilNetwork
        self.network = network_class.from_config(
            image_encoder=settings.image_encoder,
            visual_embedding=settings.visual_embedding,
            fusion={**settings.fusion, "params": params},
            classifier=settings.classifier,
            num_labels=len(self.vocabularies["answer"]) if self.task.has_head else 0,
            tuning=settings.tuning,
            where=_WHERE,
            passes=self.task.passes,
        )
        self._run = Run(
            *(self.vocabularies["answer"], self.vocabularies["text"]),
            settings.pretrained_answers,
            labels_are_answers=self.task.target_kind == SOFT or self.task.pretrains,
        )
        # Names that no starting file gave: where they are frozen, checkpoints hold them too.
        self._fresh: set[str] = set()
        self._take_starting_weights()
        # Of the frozen tensors, by which a checkpoint knows its backbone again; made when needed.
        self._backbone_hash: str | None = None
        if not self.network.tuning.saves_backbone:
            self.register_state_dict_post_hook(_drop_frozen)

    def _take_starting_weights(self) -> None:
        """Load ``pretrained``, unless the run loads a checkpoint over all of it."""
        files = _files(self._settings.pretrained)
        checkpoint = choose_checkpoint(registry.get("config"))
        whole = checkpoint is not None and checkpoint.is_whole
        if files and whole and self.network.tuning.saves_backbone:
            logger.info(
                "%s.pretrained (%s) is left out: all weights come from the checkpoint %s",
                *(_WHERE, ", ".join(files), checkpoint.file),
            )
        else:
            self._fresh = load_starting_weights(self.network, files, self._run)

    def init_losses(self) -> None:
        """Build the losses: those of the configuration, or the task's; MMF calls it.

        Raises:
            ConfigError: one does not fit the task, or its entry has an unknown key.
        """
        given, key = self._settings.losses, f"{_WHERE}.losses"
        if self.task.pretrains:
            if given is not None:
                raise ConfigError(
                    f"{key}: the task {self.task.name} has its own, masked words, matching and "
                    "answers; set it to null."
                )
            self._every_sample_needs_a_class = False
            self.losses = GivenLosses()
            return
        entries = [self.task.default_loss] if given is None else given
        types = _loss_types(entries, key)
        self.task.check_losses(types, key)
        self._every_sample_needs_a_class = "cross_entropy" in types
        self.losses = Losses(entries)

    def adapt_state_dict(self, state: Mapping[str, Any], file: str) -> Mapping[str, Any]:
        """What a checkpoint that MMF has read means to this model; the bridge asks for it.

        Args:
            state: of one of this model's own checkpoints (as it is), or of a published or imported
                one (under its own names).
            file: where it comes from.

        Returns:
            The state dict of this model.

        Raises:
            CheckpointError: a published or imported checkpoint does not fit.
        """
        self._backbone_hash = None
        self.network.tuning.samples_wanted = 0  # the checkpoint brings all of it
        state = without_ddp(state)
        if any(key.startswith("network.") for key in state):
            return self._completed(state, file)
        return _model_state(whole_weights(self.network, state, file, self._run), self.vocabularies)

    def _completed(self, state: Mapping[str, Any], file: str) -> Mapping[str, Any]:
        """One of this model's own checkpoints, with the backbone where it lacks it."""
        for key, task in run_tasks(Path(file)).items():
            if task.target_kind != self.task.target_kind:
                raise CheckpointError(
                    f"{file} was trained with the task {task.name} ({key} of its run), whose "
                    f"targets are {task.target_kind}; those of this run's task, {self.task.name}, "
                    f"are {self.task.target_kind}. Set dataset_config.<dataset>.task to "
                    f"{task.name}, or start from its weights instead: {_WHERE}.pretrained={file}"
                )
        if "_extra_state" not in state and str(file).endswith(".safetensors"):
            extra = read_extra(file)
            state = state if extra is None else {**state, "_extra_state": extra}
        left = run_source(state)
        if left is None or left.backbone is None:
            added = {f"network.{name}" for name in self.network.state_dict() if is_added(name)}
            if added and added.isdisjoint(state):
                raise CheckpointError(
                    f"{file} is a whole model, with nothing of the tuning method of this run to "
                    f"resume. Start from it instead: {_WHERE}.pretrained={file}"
                )
            return state
        whole = with_backbone(self.network, left.tensors, left.backbone, file)
        self._fresh = set(left.tensors)
        self._backbone_hash = left.backbone["sha256"]  # the same, as has just been found
        return _model_state(whole, state["_extra_state"])

    def write_final(self, folder: str) -> None:
        """Leave ``tuned.safetensors`` in a run's folder at its end; the bridge calls it."""
        if self.network.tuning.saves_backbone:
            return
        state = dict(self.state_dict())
        extra = state.pop("_extra_state")
        file = write_tuned(folder, state, extra)
        logger.info("what was trained: %s (%.1f MB)", file, file.stat().st_size / 1e6)

    def next_commands(self, config: Any, predicted: Mapping[str, Any]) -> list[str]:
        """What to do with the run, for its console."""
        return [] if self.task.pretrains else next_commands(config, predicted)

    def complete_configuration(self, config: dict[str, Any]) -> dict[str, Any]:
        """A run's configuration with the defaults of this package; the bridge saves it."""
        # Imported here: it reads the sources of all components.
        from clipvil_mmf.describing.keys import completed

        return completed(config)

    def draw_predictions(
        self, dataset: Any, indices: Sequence[int], report: Any
    ) -> Image.Image | None:
        """A picture of these questions of a dataset and the answers; the bridge's trackers ask.

        ``report`` has the ``scores`` (B, labels) of ``forward``.
        """
        # Imported here: for trackers alone.
        from clipvil_mmf.tracking import picture_of_predictions

        return picture_of_predictions(dataset, indices, report)

    def forward(self, sample_list: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Score the labels.

        Args:
            sample_list: ``images`` (B_img, 3, H, W) uint8 with ``pixel_statistics``, or normalised
                ones; or ``grid_features`` (B_img, C, h, w) and, where some is padding,
                ``grid_mask`` (B_img, h, w); or ``region_features`` (B_img, R, C),
                ``region_boxes`` (B_img, R, 4) and ``region_mask`` (B_img, R); ``image_index``
                (B,) or (B, k), and ``input_ids``, ``input_mask``, ``segment_ids`` (B, T); see
                ``data/dataset.py``.

        Returns:
            ``scores`` (B, labels) float32, before the sigmoid or softmax; in pre-training also
            ``given_losses`` (by name), and the ``correct`` and ``counted`` of its metrics.

        Raises:
            ConfigError: the dataset lacks what the image encoder or MMF's cross entropy takes.
        """
        if self._every_sample_needs_a_class and "targets" in sample_list:
            _check_classes(sample_list)
        given = (sample_list[name] for name in (*_TEXTS, *self.network.label_fields))
        output = self.network(self._images(sample_list), sample_list["image_index"], *given)
        found: dict[str, Any] = {"scores": output.scores.float()}
        if self.task.pretrains:
            given_losses = output.losses._asdict()
            if not self.task.has_head:
                del given_losses["answers"]
            found["given_losses"] = given_losses
            found |= {"correct": output.correct, "counted": output.counted}
        return found

    def compiled_parts(self) -> list[nn.Module]:
        """What ``training.compile`` compiles; the losses are too little work to gain by it."""
        return [self.network]

    def multiply_adds(self, sample_list: Mapping[str, Any]) -> int:
        """What scoring the labels of a batch's first question computes; the bridge reports it."""
        return multiply_adds(self.network, self._question(sample_list, 0)).macs

    def before_training(self, batches: Iterator[Mapping[str, Any]]) -> None:
        """Show this process's batches of the train split to a tuning method that begins from it.

        The bridge calls it before the first update, and not where a run goes on.
        """
        tuning = self.network.tuning
        if not tuning.samples_wanted:
            return
        samples = (
            Sample(*self._question(batch, row), batch["targets"][row : row + 1], self.task.loss)
            for batch in batches
            for row in range(len(batch["image_index"]))
        )
        training = self.network.training
        self.network.eval()
        tuning.start_from_samples(self.network, samples)
        self.network.train(training)

    def _question(self, sample_list: Mapping[str, Any], row: int) -> tuple[Any, ...]:
        """The network's arguments for one question of a batch and its image."""
        index = sample_list["image_index"][row : row + 1]
        images = self._images(sample_list, index.flatten())
        names = (*_TEXTS, *self.network.label_fields)
        given = (sample_list[name][row : row + 1] for name in names)
        places = torch.arange(index.numel(), device=index.device)
        return (images, places.view_as(index), *given)

    def _images(
        self, sample_list: Mapping[str, Any], rows: torch.Tensor | None = None
    ) -> torch.Tensor | Grid | Regions:
        """The images of a batch, or their features: what the image encoder takes."""
        encoder = self.network.image_encoder
        lacking = [name for name in encoder.batch_fields if name not in sample_list]
        if lacking:
            raise ConfigError(
                f"{_WHERE}.image_encoder.type: {self._settings.image_encoder['type']} needs "
                f"{', '.join(lacking)}, which the dataset does not give. Regions and grids come "
                "from the files that dataset_config.<dataset>.features names; images come where "
                "that is null."
            )
        return encoder.inputs_of(sample_list, rows)

    def get_optimizer_parameters(self, config: Any) -> list[dict[str, Any]]:
        """The trainable parameters in groups, by the section `optimizer.groups` of MMF's config.

        Raises:
            ConfigError: the section `optimizer` has an unknown key, or `groups` a bad value.
        """
        optimizer = config.optimizer
        check_keys("optimizer", optimizer, _OPTIMIZER_KEYS)
        groups = from_config(GroupsConfig, optimizer.get("groups"), "optimizer.groups")
        tower, kind = groups.tower, optimizer["type"]
        if tower and tower.algorithm and kind != "clipvil_adamw_sgd":
            raise ConfigError(
                f"optimizer.groups.tower.algorithm: {kind} has one algorithm for all groups; set "
                "it to null, or optimizer.type to clipvil_adamw_sgd."
            )
        if tower and tower.momentum and "sgd" not in (tower.algorithm, kind.lower()):
            raise ConfigError(
                f"optimizer.groups.tower.momentum: {kind} has none unless "
                "optimizer.groups.tower.algorithm is sgd; set it to null."
            )
        return parameter_groups(self, self.network.tower_parameters(), groups)

    def saved_names(self) -> set[str]:
        """What checkpoints of a run hold that does not train everything.

        Frozen tensors that no starting file gave are among them: the files cannot give them again.
        """
        return trainable_names(self.network) | self._fresh

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the weights: the vocabularies they were trained with.

        Where it holds trainable ones alone, also the ``name`` and ``sha256`` of their backbone.
        """
        extra: dict[str, Any] = {kind: list(words) for kind, words in self.vocabularies.items()}
        if not (self.network.tuning.saves_backbone or self.is_pretrained):
            if self._backbone_hash is None:
                self._backbone_hash = backbone_hash(self.network, self.saved_names())
            extra["backbone"] = {"name": self._backbone_name(), "sha256": self._backbone_hash}
        return extra

    def _backbone_name(self) -> str:
        """Where the frozen weights come from, in words."""
        tower = (self._settings.image_encoder.get("params") or {}).get("pretrained")
        resumed = OmegaConf.select(registry.get("config"), "checkpoint.resume_file")
        sources = (tower, *_files(self._settings.pretrained), resumed)
        return ", ".join(str(source) for source in sources if source) or "random weights"

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Check that the checkpoint was trained with the vocabularies of this run.

        Raises:
            ValueError: a vocabulary differs.
        """
        for kind, words in self.vocabularies.items():
            trained = list(state.get(kind, []))
            pairs = enumerate(zip_longest(trained, words))
            row = next((row for row, (theirs, ours) in pairs if theirs != ours), None)
            if row is not None:
                raise ValueError(
                    f"The checkpoint was trained with another {kind} vocabulary: it has "
                    f"{len(trained)} entries, this run has {len(words)}, and they differ first in "
                    f"entry {row}. Use the dataset, and the vocabulary files, that it was trained "
                    "with (vocabularies/ beside it)"
                )


def _model_state(weights: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict of the model from one of its network."""
    named = {f"network.{name}": tensor for name, tensor in weights.items()}
    return {**named, "_extra_state": dict(extra)}


def _check_classes(sample_list: Mapping[str, Any]) -> None:
    """Raise ConfigError for a sample without a class: MMF's cross entropy ends at it, with CUDA."""
    without = int((sample_list["targets"] == NO_CLASS).sum())
    if without:
        raise ConfigError(
            f"{_WHERE}.losses: cross_entropy needs a class for every sample, but {without} of the "
            f"{len(sample_list['targets'])} in a batch of {sample_list.get('dataset_name')} have "
            "none among this run's labels. Use clipvil_cross_entropy, which leaves them out."
        )


def _drop_frozen(
    model: ClipVil, state: dict[str, Any], prefix: str, metadata: Mapping[str, Any]
) -> None:
    """Take the tensors out of the model's state dict that its starting files give."""
    start = f"{prefix}network."
    saved = {f"{start}{name}" for name in model.saved_names()}
    for name in [name for name in state if name.startswith(start) and name not in saved]:
        del state[name]


def _files(pretrained: Any) -> list[str]:
    """The files of `pretrained`: null, one, or a list."""
    files = [pretrained] if isinstance(pretrained, str) else pretrained or []
    if not isinstance(files, list) or not all(isinstance(file, str) and file for file in files):
        raise ConfigError(f"{_WHERE}.pretrained: got {pretrained!r}, expected paths.")
    if isinstance(pretrained, str) and pretrained.startswith("["):
        raise ConfigError(
            f"{_WHERE}.pretrained: got {pretrained!r}, expected a path or a list."
            f"{list_on_command_line(pretrained)}"
        )
    return files


def _loss_types(
    entries: list[Any], key: str, keys: tuple[str, ...] = ("type", "params")
) -> list[str]:
    """The names in MMF's list of losses, those that its ``multi`` adds up among them.

    An entry with a key that MMF would pass over, or without a type, is an error.
    """
    types = []
    for number, entry in enumerate(entries):
        if isinstance(entry, str):
            types.append(entry)
            continue
        check_keys(f"{key}[{number}]", entry, keys)
        if entry.get("type") == "multi":
            inside = f"{key}[{number}].params"
            types += _loss_types(list(entry.get("params") or []), inside, (*keys, "weight"))
        elif "type" in entry:
            types.append(entry["type"])
        else:
            raise ConfigError(f"{key}[{number}].type: missing; expected a loss of MMF.")
    return types


def _registered(what: str) -> dict[str, Any]:
    """What each of the run's datasets has registered under a name; None where it has not."""
    names = str(registry.get("config").datasets).split(",")
    return {name: registry.get(f"{name}_{what}", no_warning=True) for name in names}


def _task() -> Task:
    """The one task that the run's datasets have registered; vqa where they name none."""
    tasks = {name: task or build_task("vqa") for name, task in _registered("task").items()}
    first, *others = tasks.values()
    if any(task != first for task in others):
        named = ", ".join(f"{name}: {task.name}" for name, task in tasks.items())
        raise ConfigError(
            f"datasets: their tasks differ ({named}); set dataset_config.<dataset>.task of all to "
            "one, with the same params."
        )
    return first


def _check_sections(config: Any) -> None:
    """Remark on sections of models and datasets that the run does not have.

    One whose name is nearly that of one of the run's is an error.
    """
    used = {
        "model_config": [str(config.get("model") or "clipvil")],
        "dataset_config": str(config.datasets).split(","),
    }
    for where, names in used.items():
        for name in set(config.get(where) or {}) - set(names):
            near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.8)
            if near:
                raise ConfigError(
                    f"{where}.{name}: this run has no {name}. Did you mean {near[0]!r}?"
                )
            logger.warning("%s.%s has no effect: this run has %s", where, name, ", ".join(names))


def _judge_by(task: Task) -> None:
    """Check the run's metrics and criterion of early stopping; without metrics, take the task's."""
    config = registry.get("config")
    metrics = OmegaConf.select(config, "evaluation.metrics")
    if metrics:
        entries = [metrics] if isinstance(metrics, str) else metrics
        names = [entry if isinstance(entry, str) else entry.get("type") for entry in entries]
        task.check_metrics(names, "evaluation.metrics")
    else:
        with read_write(config), open_dict(config):
            config.evaluation.metrics = [task.default_metric]
    key = "training.early_stop.criteria"
    criterion = str(OmegaConf.select(config, key) or "").split("/")[-1]
    task.check_metrics([criterion], key)
    task.check_losses([criterion], key)


def _vocabulary(kind: str) -> list[str]:
    """The one vocabulary that the run's datasets have registered."""
    found = _registered(f"{kind}_vocab")
    known = [words for words in found.values() if words is not None]
    if not known:
        raise ConfigError(
            f"datasets: none of {', '.join(found)} gives the {kind} vocabulary that clipvil "
            "needs; use a dataset of this plugin."
        )
    if any(words != known[0] for words in known):
        raise ConfigError(
            f"datasets: {', '.join(found)} have different {kind} vocabularies; give their "
            "processors one vocabulary file."
        )
    return list(known[0])
