"""The dataset that MMF sees: a table of questions and images -> the batches of the model.

A batch (``ClipVilDataset.__getitems__``) is a ``SampleList`` with

* ``images`` (B_img, 3, H, W) uint8, channels_last: the pixels of the batch's unique images; with
  ``pixel_statistics`` (2, 3) float32 and, where pictures do not fill the canvas of the first one,
  ``image_sizes`` (B_img, 2) int64, by which ``preprocessing.images_of`` normalises them on the
  device; or, where ``features`` is set, their ``region_features``, ``region_boxes`` and
  ``region_mask`` (``regions.py``), or ``grid_features`` and ``grid_mask`` (``grids.py``);
* ``image_index`` (B,) int64: the row of these that each question is about; (B, k) where the network
  reads a question with each of its k images; images that the task joins are one here;
* ``input_ids``, ``input_mask``, ``segment_ids`` (B, T) int64; with ``pad_to: longest`` T is the
  length of the batch's longest question;
* ``targets``, on labelled splits, as the task makes them: (B, labels) float32 scores, or (B,) int64
  classes;
* ``question_id``: a list of B ids, as the annotation gives them.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmf.common.registry import registry
from mmf.common.sample import SampleList
from mmf.datasets.base_dataset import BaseDataset
from mmf.utils.distributed import is_master

from clipvil_mmf.config import (
    ConfigError,
    check_at_least,
    check_at_most,
    check_choice,
    check_keys,
    from_config,
)
from clipvil_mmf.data.batching import QuestionBatchSampler, aspect_groups
from clipvil_mmf.data.grids import GridStore, grid_folders
from clipvil_mmf.data.images import (
    BadImageError,
    ImageParams,
    ImageStore,
    build_transform,
)
from clipvil_mmf.data.labels import FROM_DATASET, UnknownLabelError
from clipvil_mmf.data.questions import AnnotationError, Question, below
from clipvil_mmf.data.regions import RegionParams, RegionStore
from clipvil_mmf.data.table import QuestionTable, SoftAnswers
from clipvil_mmf.preprocessing import pixel_statistics
from clipvil_mmf.tasks import Task, build_task
from clipvil_mmf.tasks.confidence import add_confidence, prediction_params

logger = logging.getLogger(__name__)

_PROCESSORS = ("text_processor", "answer_processor")


@dataclass
class DatasetParams(ImageParams):
    """The section ``dataset_config.<dataset>`` of a yaml file; see also ``ImageParams``."""

    # What is asked, a name of tasks.TASKS or {type: NAME, params: {...}}; null for the dataset's.
    task: Any = "vqa"
    # Folder of the dataset's files.
    data_dir: str | None = None
    # Entries of MMF's zoo to download, such as vqa2.defaults.
    zoo_requirements: list[str] = field(default_factory=list)
    # MMF's text_processor and answer_processor (the labels, of every task), each {type, params}.
    processors: dict[str, Any] = field(default_factory=dict)
    # Keep the questions of an image in one batch, so that the visual tower runs once for all of
    # them; false shuffles questions alone.
    group_by_image: bool = True
    # Keep questions on landscape images in other batches than those on portrait and square ones, as
    # the transform tells them apart; for fit_pad, whose canvas differs for the two. The sizes of
    # all images are read once, at the first start.
    group_by_aspect_ratio: bool = False
    # With group_by_aspect_ratio, cut each of the two at the ratios 2^(i/k) between 1/2 and 2, too,
    # as CLIP-ViL's pre-training (5); 0 does not.
    aspect_ratio_factor: int = 0
    # Train on a part of the images, with all their questions: a share below 1, or a number of
    # images; null for all. Drawn by subset_seed, whose smaller parts lie in its larger ones.
    # Vocabularies stay those of all questions.
    subset: Any = None
    subset_seed: int = 0
    # Features instead of images, {path, max_regions, mask_padding} (regions.py, grids.py).
    features: Any = None
    # Take images that a question file names outside of the images' folder, by ../ or an absolute
    # path; false makes them an error.
    allow_outside_images: bool = False
    # raise stops at an answer outside the vocabulary. keep leaves the answer out of the targets, so
    # that a question without any other one has none (as in LXMERT's files); skip leaves such a
    # question out of training as well (in validation and test it stays and counts as wrong). Both
    # log how many there are.
    on_unknown_answer: str = "raise"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task is None:
            self.task = type(self).task
        check_keys("processors", self.processors, _PROCESSORS)
        for name, section in self.processors.items():
            inner = section.get("params") if isinstance(section, dict) else None
            if not isinstance(section, dict | None) or not isinstance(inner, dict | None):
                raise ConfigError(
                    f"processors.{name}: got {section!r:.80}, expected {{type: ..., params: "
                    "{...}}."
                )
            check_keys(f"processors.{name}", section or {}, ("type", "params"))  # MMF does not
        check_choice("on_unknown_answer", self.on_unknown_answer, ("raise", "keep", "skip"))
        check_at_least("aspect_ratio_factor", self.aspect_ratio_factor, 0)
        check_at_most("aspect_ratio_factor", self.aspect_ratio_factor, 1000)
        check_at_least("subset_seed", self.subset_seed, 0)
        if self.subset is not None and not _is_share(self.subset) and not _is_count(self.subset):
            raise ConfigError(
                f"subset: got {self.subset!r}, expected a share of the images (above 0, below 1), "
                "or a number of images."
            )
        if self.features is not None:
            self.features = from_config(RegionParams, self.features, "features")
            if self.in_memory:
                raise ConfigError(
                    "in_memory: true, but with features no image is read; set it to false."
                )


def _is_share(subset: Any) -> bool:
    return isinstance(subset, float) and 0 < subset < 1


def _is_count(subset: Any) -> bool:
    return isinstance(subset, int) and not isinstance(subset, bool) and subset >= 1


def _check_images_of(task: Task, table: QuestionTable, params: DatasetParams, section: str) -> None:
    """Raise unless the questions have as many images as the task wants, which fit one another.

    Raises:
        ConfigError: the task wants another number of images; or pictures of a question could have
            different canvases, of which one would be cut.
    """
    wanted, found = task.images_per_sample, table.images_per_sample
    if wanted != found:
        raise ConfigError(
            f"{section}.task: {task.name} has {wanted} images per sample, but the questions of "
            f"{table.source} have {found}. Set it to a task with {found}."
        )
    if wanted == 1:
        return
    height, width = params.image_size
    if params.image_transform == "fit_pad" and height != width:
        raise ConfigError(
            f"{section}.image_transform: fit_pad gives the {wanted} images of a sample different "
            f"canvases, {height}x{width} and {width}x{height}. Set it to stretch, or image_size "
            f"to a square such as [{height},{height}]."
        )
    if params.group_by_aspect_ratio:
        raise ConfigError(
            f"{section}.group_by_aspect_ratio: true, but a sample has {wanted} images, which may "
            "differ; set it to false."
        )
    if task.joins_images and params.features is not None:
        raise ConfigError(
            f"{section}.features: {task.name} joins the pixels of {wanted} images, and regions "
            "have none; set features to null, or let the network read the images one by one "
            f"({section}.task.params.pairing=two_passes)."
        )


class ImagePaths(Sequence[str]):
    """The image files of a table, put together one by one; ``root`` is '' if they are whole."""

    def __init__(self, table: QuestionTable, root: str) -> None:
        self._table, self._root = table, root

    def __len__(self) -> int:
        return self._table.image_count

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return os.path.join(self._root, self._table.image_path(row))

    def check_inside(self, section: str) -> None:
        """Raise ``AnnotationError`` where the path of an image leaves the folder."""
        folder = os.path.join(os.path.abspath(self._root), "")
        for row in range(len(self)):
            path = self._table.image_path(row)
            if not os.path.isabs(path) and ".." not in path:
                continue
            if not os.path.normpath(os.path.join(folder, path)).startswith(folder):
                raise AnnotationError(
                    f"{self._table.source}: the image {path!r} is outside of the folder of the "
                    f"images ({self._root}). Correct it, or set {section}.allow_outside_images: "
                    "true if you trust the file"
                )


def open_features(images: Sequence[str], params: RegionParams) -> GridStore | RegionStore:
    """The features of images, of the kind that ``params.path`` has."""
    path = Path(params.path).expanduser()
    if path.is_dir() and grid_folders(path):
        return GridStore(images, path, params.mask_padding)
    return RegionStore(images, params)


class TokenCache:
    """Tokenises each distinct question once while it is kept.

    easy-VQA has few dozens of questions, which then are never tokenised twice; VQA v2 has more than
    are worth keeping. When the cache is full it starts afresh.

    Args:
        tokenizer: N questions -> ids (N, T) int32 and lengths (N,) int32.
        capacity: how many questions are kept, beside those of a batch.
    """

    def __init__(self, tokenizer: Callable[..., Any], capacity: int = 4096) -> None:
        self._tokenizer, self._capacity = tokenizer, capacity
        self._kept: dict[str, tuple[np.ndarray, np.integer]] = {}

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids (B, T) int32 and lengths (B,) int32 of B questions."""
        if len(self._kept) > self._capacity:
            self._kept = {}
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        if new:
            self._kept.update(zip(new, zip(*self._tokenizer(new), strict=True), strict=True))
        ids, lengths = zip(*(self._kept[text] for text in texts), strict=True)
        return np.stack(ids), np.asarray(lengths)


class ClipVilDataset(BaseDataset):
    """Questions about images, for every dataset of the plugin.

    Of a table that is mapped from a store no process, nor a worker of the data loader, has a copy.

    Args:
        dataset_name: its key in the configuration.
        config: its section of the configuration.
        dataset_type: train, val or test.
        table: the questions of this split.
        training_questions: gives the texts that a text vocabulary is made from.
        params: the checked section; by default ``config`` is checked as ``DatasetParams``.
        image_root: the folder that the table's image paths are relative to.
        labels: gives the dataset's own list of labels, if it brings one.

    Raises:
        ConfigError, BadImageError, BadRegionsError: a bad key or value; a missing image or entry.
        AnnotationError: an image outside of ``image_root``.
    """

    def __init__(
        self,
        dataset_name: str,
        config: Any,
        dataset_type: str,
        *,
        table: QuestionTable,
        training_questions: Callable[[], Sequence[str]],
        params: DatasetParams | None = None,
        image_root: str = "",
        labels: Callable[[], Sequence[str] | None] = lambda: None,
    ) -> None:
        super().__init__(dataset_name, config, dataset_type)
        section = f"dataset_config.{dataset_name}"
        self.params = params or from_config(DatasetParams, config, section)
        self.task: Task = build_task(self.params.task, f"{section}.task")
        _check_images_of(self.task, table, self.params, section)
        self.table = table
        self.is_labelled = table.is_labelled
        self._trains = dataset_type == "train"
        self._label = f"{dataset_name} {dataset_type}"  # for the log
        self._training_questions = training_questions
        self._dataset_labels = labels
        self._image_root = image_root
        self._statistics = pixel_statistics(self.params.mean, self.params.std)
        self._transform = build_transform(self.params)
        # The table's rows that are used; None for all of them.
        self._kept: np.ndarray | None = None
        self._tokens: TokenCache | None = None
        self._vocabulary_rows: np.ndarray | None = None
        # What there is to choose from, by the questions' ids; made when predictions need it.
        self._choices: dict[Any, tuple[str, ...]] | None = None
        if self._trains and self.params.subset is not None:
            self._keep_part(self.params.subset)
        paths = ImagePaths(table, image_root)
        self._images: ImageStore | GridStore | RegionStore
        if self.params.features is not None:
            # By their names in the table: features may lie anywhere.
            self._images = open_features(ImagePaths(table, ""), self.params.features)
            if self.params.group_by_aspect_ratio and not isinstance(self._images, GridStore):
                raise ConfigError(
                    f"{section}.group_by_aspect_ratio: true, but with region features no image is "
                    "read; set it to false."
                )
            return
        if image_root and not self.params.allow_outside_images:
            paths.check_inside(section)
        self._images = ImageStore(
            paths,
            self._transform,
            in_memory=self.params.in_memory,
            blank_shape=(
                (3, *self.params.image_size) if self.params.on_bad_image == "skip" else None
            ),
        )
        if self._images.bad:
            self._report_bad(self._images.bad)

    def _pictures_of(self) -> np.ndarray:
        """(N,) the image of each row of the table; where it has several, a number of these."""
        images = self.table.image_rows
        if images.ndim == 1:
            return images
        return np.unique(images, axis=0, return_inverse=True)[1].reshape(-1)

    def _keep_part(self, subset: float | int) -> None:
        """Leave out the questions of all images but a part."""
        random = np.random.Generator(np.random.PCG64(self.params.subset_seed))
        images = self._pictures_of()
        order = random.permutation(np.unique(images))
        count = math.ceil(subset * len(order)) if _is_share(subset) else subset
        self._keep(np.isin(images, order[:count]))
        logger.info("%s: subset: %d of %d images", self._label, min(count, len(order)), len(order))

    def _report_bad(self, bad: dict[int, BadImageError]) -> None:
        """Log the bad images, and leave their questions out of training."""
        on_bad = np.isin(self.table.image_rows, list(bad))
        if on_bad.ndim > 1:
            on_bad = on_bad.any(axis=1)
        logger.warning(
            "%s: %d of %d images are missing or damaged; %d questions %s. The first: %s",
            self._label,
            len(bad),
            self.table.image_count,
            on_bad.sum(),
            "are left out" if self._trains else "are answered with a black picture",
            bad[min(bad)],
        )
        if self._trains:
            self._keep(~on_bad)

    def __getstate__(self) -> dict[str, Any]:
        """What a spawned worker needs: a mapped table is opened there by its path."""
        left_out = ("writer", "_global_config", "_training_questions", "_dataset_labels")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def init_processors(self) -> None:
        """Build the processors and prepare the labels with them; MMF calls it after loading.

        Raises:
            ConfigError: a processor is missing or badly configured.
            UnknownLabelError, AnnotationError: a label outside the vocabulary; no question is left.
        """
        lacking = [name for name in _PROCESSORS if not self.params.processors.get(name)]
        if lacking:
            raise ConfigError(
                f"dataset_config.{self.dataset_name}.processors.{lacking[0]}: missing; expected "
                "{type: ..., params: {...}}, as in the dataset's defaults."
            )
        super().init_processors()
        if self._tokens is not None:
            return  # prepared before
        if self.text_processor.needs_fit:
            self.text_processor.fit(self._training_questions())
        if self.answer_processor.needs_fit:
            self.answer_processor.fit(self._own_labels(), self.dataset_name)
        elif self.task.labels is not None and self.labels != list(self.task.labels):
            raise ConfigError(
                f"dataset_config.{self.dataset_name}.task.params.labels: the task says its labels, "
                f"and processors.answer_processor.params.vocab others; set the latter to "
                f"{FROM_DATASET}."
            )
        if self.is_labelled:
            self._prepare_labels()
        if not len(self):
            raise AnnotationError(
                f"{self.table.source}: none of its questions can be used: on_bad_image and "
                "on_unknown_answer left out all of them. Correct the image folder or the "
                "vocabulary of labels"
            )
        self._tokens = TokenCache(self.text_processor)
        images = np.unique(self._used(self.table.image_rows)).size
        # The console says how much data there is in the run's first lines.
        counts = self._label, len(self), images
        logger.info("%s: %d questions on %d images", *counts, extra={"console": False})

    @property
    def labels(self) -> list[str]:
        """All labels; the rows of the head."""
        return self.answer_processor.labels

    @property
    def writes_bare_csv(self) -> bool:
        """Whether prediction files are CSV without a header; the bridge asks for it."""
        return self.task.writes_csv

    def _own_labels(self) -> Sequence[str] | None:
        """The labels that the task says, or else the dataset."""
        if self.task.labels is not None:
            return self.task.labels
        labels = self._dataset_labels()
        return None if labels is None else self.task.order_labels(labels)

    def _prepare_labels(self) -> None:
        """Find the vocabulary's rows of the table's labels; deal with unknown ones."""
        self._vocabulary_rows = self.answer_processor.rows_of(self.table.answer_texts)
        soft = self.table.answers_of(np.arange(len(self.table)))
        known = self._vocabulary_rows[soft.rows] >= 0
        unknown = soft.positions[~known]
        if not len(unknown):
            return
        if self.params.on_unknown_answer == "raise":
            question = self.table[int(unknown[0])]
            try:
                self.answer_processor(question.answers)
            except UnknownLabelError as error:
                raise UnknownLabelError(
                    f"{self.table.source}: question {question.question_id!r}: {error}"
                ) from error
        usable = np.ones(len(self.table), dtype=bool)
        usable[unknown] = False
        affected = self._used(~usable).sum()
        usable[soft.positions[known]] = True
        skips = self._trains and self.params.on_unknown_answer == "skip"
        left_out = self._used(~usable).sum() if skips else 0
        logger.warning(
            "%s: %d questions have labels outside the vocabulary; %d are left out",
            self._label,
            affected,
            left_out,
        )
        if left_out:
            self._keep(usable)

    def _keep(self, usable: np.ndarray) -> None:
        """Leave out the table's rows that are not usable."""
        rows = np.flatnonzero(usable)
        if self._kept is not None:
            rows = np.intersect1d(rows, self._kept, assume_unique=True)
        self._kept = rows.astype(np.int32)

    def _used(self, values: np.ndarray) -> np.ndarray:
        """Of a value for each row of the table, those of the used questions."""
        return values if self._kept is None else values[self._kept]

    def __len__(self) -> int:
        return len(self.table) if self._kept is None else len(self._kept)

    def __getitem__(self, index: int) -> SampleList:
        """A batch of one question; see ``__getitems__``."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> SampleList:
        """The batch of these questions, see the top of this file; each image is read once.

        torch's data loader asks for a batch at once, and hands it to ``collate``; one to train on
        without labels is an ``AnnotationError``.
        """
        if self._trains and not self.is_labelled:
            self.table.check_labelled()
        numbers = np.asarray(indices, dtype=np.int64)
        chosen = self._rows(numbers)
        batch = SampleList()
        # The first tensor field, a text, is the one whose length MMF takes for the batch size.
        for name, values in self._samples(numbers, chosen).items():
            batch.add_field(name, values)
        image_rows = self.table.image_rows[chosen]
        # The unique pictures, each the rows of the images that make it up.
        parts = image_rows.reshape(-1, image_rows.shape[-1] if self.task.joins_images else 1)
        places: dict[tuple[int, ...], int] = {}
        index = [places.setdefault(tuple(part), len(places)) for part in parts.tolist()]
        shape = (-1,) if self.task.passes == 1 else (-1, self.task.passes)
        batch.add_field("image_index", torch.tensor(index).view(shape))
        rows = [row for part in places for row in part]
        # Not add_field, which wants as many rows as there are questions.
        if self.params.features is not None:
            batch.update(self._images.batch(rows))
        else:
            pictures = self._images.read(rows, parts.shape[1])
            batch["images"], batch["pixel_statistics"] = pictures.pixels, self._statistics
            if pictures.sizes is not None:
                batch["image_sizes"] = pictures.sizes
        batch.add_field("question_id", self.table.ids(chosen))
        batch.add_field("dataset_name", self.dataset_name)
        batch.add_field("dataset_type", self.dataset_type)
        return batch

    def questions_to_show(self, indices: Sequence[int]) -> list[Question] | None:
        """These questions with the paths of their images; None where features stand for images."""
        if self.params.features is not None:
            return None
        rows = self._rows(np.asarray(indices, dtype=np.int64)).tolist()
        return [below(self._image_root, self.table[row]) for row in rows]

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        """(B,) int64, the table's rows of these samples."""
        return indices if self._kept is None else self._kept[indices].astype(np.int64)

    def _samples(self, indices: np.ndarray, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        """The texts and targets of these samples, and ``chosen``, their rows of the table."""
        ids, lengths = self._padded(self.table.texts(chosen))
        fields = self._text_fields(ids, lengths)
        return {**fields, "targets": self._targets(chosen)} if self.is_labelled else fields

    def _padded(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids (B, T) int32 and lengths (B,) int32 of B texts."""
        ids, lengths = self._tokens(texts)
        longest = self.text_processor.params.pad_to == "longest"
        return ids[:, : lengths.max()] if longest else ids, lengths

    def _text_fields(self, ids: np.ndarray, lengths: np.ndarray) -> dict[str, torch.Tensor]:
        """The fields ``input_ids``, ``input_mask`` and ``segment_ids`` of a batch."""
        input_ids = torch.from_numpy(ids).long()
        mask = torch.arange(ids.shape[1]) < torch.from_numpy(lengths)[:, None]
        names = ("input_ids", "input_mask", "segment_ids")
        values = (input_ids, mask.long(), torch.zeros_like(input_ids))
        return dict(zip(names, values, strict=True))

    def _known_answers(self, chosen: np.ndarray) -> SoftAnswers:
        """The answers of these rows of the table that are labels, by the rows of the head."""
        soft = self.table.answers_of(chosen)
        rows = self._vocabulary_rows[soft.rows]
        known = rows >= 0
        return SoftAnswers(soft.positions[known], rows[known], soft.scores[known])

    def _targets(self, chosen: np.ndarray) -> torch.Tensor:
        """The targets of these questions of the table, as the task makes them."""
        pairs = self._known_answers(chosen)
        return torch.from_numpy(self.task.targets(pairs, len(chosen), len(self.labels)))

    def collate(self, batch: SampleList) -> SampleList:
        """Hand on the batch that ``__getitems__`` made; the bridge's data loader asks for it."""
        return batch

    def batch_bytes(self, samples: int) -> int | None:
        """What such a batch has at most, if it has images; the bridge's data loader asks for it."""
        if self.params.features is not None:
            return None
        height, width = self.params.image_size
        tokens = self.text_processor.params.max_seq_length
        pixels = 3 * height * width * self.task.images_per_sample
        return samples * (pixels + 24 * tokens + 4 * len(self.labels))

    def build_batch_sampler(
        self, batch_size: int, shuffle: bool, seed: int, rank: int, world_size: int
    ) -> QuestionBatchSampler:
        """The batches of one rank; the bridge's data loader asks for it."""
        images = self._used(self._pictures_of())
        groups = None
        if isinstance(self._images, GridStore) and self.params.group_by_aspect_ratio:
            groups = aspect_groups(self._images.sizes)[images]
        elif self.params.group_by_aspect_ratio:
            upright = self.params.exif_rotation == "apply"
            sizes = self.table.image_sizes(self._image_root, is_master(), upright)
            factor = self.params.aspect_ratio_factor
            groups = aspect_groups(sizes, self._transform.is_portrait, factor)[images]
        return QuestionBatchSampler(
            images,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            rank=rank,
            world_size=world_size,
            group_by_image=self.params.group_by_image,
            groups=groups,
        )

    def format_for_prediction(self, report: Any) -> list[dict[str, Any]]:
        """The rows of a prediction file, as the task makes them, of ``scores`` (B, labels).

        The section ``prediction`` of the configuration may add confidence and further answers.
        """
        given = (report.question_id, report.scores, self.labels)
        if self.task.choice_field is not None:
            given = (*given, self._choices_of(report.question_id))
        rows = self.task.prediction_rows(*given)
        params = prediction_params(registry.get("config") or {}, self.task)
        if params.adds_fields:
            add_confidence(rows, report.scores, self.labels, self.task, params)
        return rows

    def _choices_of(self, ids: Sequence[Any]) -> list[tuple[str, ...]]:
        """What there is to choose from for each of these questions."""
        if self._choices is None:
            found = self.table.choices()
            if found is None:
                raise ConfigError(
                    f"dataset_config.{self.dataset_name}.task: {self.task.name} writes choices, "
                    f"but the questions of {self.table.source} have none; expected another task."
                )
            self._choices = dict(zip(self.table.ids(), found, strict=True))
        return [self._choices[key] for key in ids]

    def on_prediction_end(self, rows: list[dict[str, Any]]) -> Any:
        """The content of the prediction file with the rows of all processes; the bridge asks."""
        return self.task.prediction_file(rows)
