"""The dataset that MMF sees: compact questions and images -> the batches of the model.

A batch (``ClipVilDataset.collate``) is a ``SampleList`` with

* ``images`` (B_img, 3, H, W) float32: the batch's unique images;
* ``image_index`` (B,) int64: the row of ``images`` that each question is about;
* ``input_ids``, ``input_mask``, ``segment_ids`` (B, T) int64;
* ``targets`` (B, A) float32 soft targets, on labelled splits;
* ``question_id``: a list of B ids, as the annotation gives them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmf.common.sample import Sample, SampleList
from mmf.datasets.base_dataset import BaseDataset

from clipvil_mmf.config import check_choice, from_config
from clipvil_mmf.data.annotations import AnnotationError, Question, check_questions
from clipvil_mmf.data.answers import UnknownAnswerError
from clipvil_mmf.data.batching import QuestionBatchSampler
from clipvil_mmf.data.images import (
    ImageParams,
    ImageStore,
    build_transform,
    normalize,
    report_bad_images,
)

logger = logging.getLogger(__name__)


@dataclass
class DatasetParams(ImageParams):
    """The section ``dataset_config.<dataset>`` of a yaml file; see also ``ImageParams``.

    Args:
        data_dir: folder of the dataset's files.
        zoo_requirements: entries of MMF's zoo to download, such as ``vqa2.defaults``.
        processors: MMF's ``text_processor`` and ``answer_processor``, each ``{type, params}``.
        group_by_image: keep the questions of an image in one batch, so that the visual tower runs
            once for all of them; ``false`` shuffles questions alone.
        on_unknown_answer: ``raise`` stops at an answer outside the vocabulary. ``skip`` leaves the
            answer out of the targets, and a question without any other answer out of training (in
            validation and test it stays and counts as wrong), and logs how many there are.
    """

    data_dir: str | None = None
    zoo_requirements: list[str] = field(default_factory=list)
    processors: dict[str, Any] = field(default_factory=dict)
    group_by_image: bool = True
    on_unknown_answer: str = "raise"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("on_unknown_answer", self.on_unknown_answer, ("raise", "skip"))


class ClipVilDataset(BaseDataset):
    """Questions about images, for every dataset of the plugin.

    Args:
        dataset_name: its key in the configuration.
        config: its section of the configuration, see ``DatasetParams``.
        dataset_type: train, val or test.
        questions: the records of this split.
        source: where they come from, for messages.
        training_questions: gives the texts that a text vocabulary is made from.
        answers: the dataset's own answer list, if it brings one.

    Raises:
        ConfigError: a bad key or value in ``config``.
        AnnotationError: bad ids, or only some questions with answers.
        BadImageError: a missing image (``on_bad_image: raise``).
    """

    def __init__(
        self,
        dataset_name: str,
        config: Any,
        dataset_type: str,
        *,
        questions: Sequence[Question],
        source: str,
        training_questions: Callable[[], Sequence[str]],
        answers: Sequence[str] | None = None,
    ) -> None:
        super().__init__(dataset_name, config, dataset_type)
        self.params = from_config(DatasetParams, config, f"dataset_config.{dataset_name}")
        self._split = dataset_type
        self._source = source
        self._training_questions = training_questions
        self._dataset_answers = answers
        check_questions(questions, source)
        labelled = sum(question.answers is not None for question in questions)
        if 0 < labelled < len(questions):
            raise AnnotationError(
                f"{source}: {labelled} of {len(questions)} questions have answers; expected all or "
                "none. Split the file"
            )
        self.is_labelled = labelled > 0
        self._mean = torch.tensor(list(self.params.mean)).view(3, 1, 1)
        self._std = torch.tensor(list(self.params.std)).view(3, 1, 1)

        paths = list(dict.fromkeys(question.image for question in questions))
        row_of = {path: row for row, path in enumerate(paths)}
        skip_bad = self.params.on_bad_image == "skip"
        self._images = ImageStore(
            paths,
            build_transform(self.params),
            in_memory=self.params.in_memory,
            blank_shape=(3, *self.params.image_size) if skip_bad else None,
        )
        on_bad = sum(row_of[question.image] in self._images.bad for question in questions)
        report_bad_images(self._images, f"{dataset_name} {dataset_type}", on_bad, self._trains)
        self._ids: list[int | str] = []
        # Emptied once their content is in arrays.
        self._questions = [
            question
            for question in questions
            if not (self._trains and row_of[question.image] in self._images.bad)
        ]
        self._image_rows = np.array([row_of[q.image] for q in self._questions], dtype=np.int64)

    @property
    def _trains(self) -> bool:
        return self._split == "train"

    def init_processors(self) -> None:
        """Build the processors and prepare the questions with them; MMF calls it after loading.

        Raises:
            ConfigError: a processor is missing or badly configured.
            UnknownAnswerError: an answer outside the vocabulary (``on_unknown_answer: raise``).
            AnnotationError: no question is left.
        """
        super().init_processors()
        if self._ids:
            return  # prepared before
        if self.text_processor.needs_fit:
            self.text_processor.fit(self._training_questions())
        self.answer_processor.fit(self._dataset_answers, self.dataset_name)
        if self.is_labelled:
            self._prepare_answers()
        if not self._questions:
            raise AnnotationError(
                f"{self._source}: none of its questions can be used: on_bad_image and "
                "on_unknown_answer left out all of them. Correct the image folder or the answer "
                "vocabulary"
            )
        self._prepare_text()
        self._ids = [question.question_id for question in self._questions]
        images = np.unique(self._image_rows).size
        logger.info(
            "%s %s: %d questions on %d images", self.dataset_name, self._split, len(self), images
        )
        self._questions = []

    def _prepare_text(self) -> None:
        """Tokenise each distinct question once."""
        rows: dict[str, int] = {}
        which = [rows.setdefault(question.text, len(rows)) for question in self._questions]
        ids, lengths = self.text_processor(list(rows))
        self._tokens = torch.from_numpy(ids[which])
        self._lengths = torch.from_numpy(lengths[which])

    def _prepare_answers(self) -> None:
        """Fill the soft targets in compressed rows; deal with unknown answers."""
        keep, pairs, unknown = [], [], 0
        skip = self.params.on_unknown_answer == "skip"
        for position, question in enumerate(self._questions):
            answers = question.answers or {}
            if skip:
                known = {a: score for a, score in answers.items() if self.answer_processor.knows(a)}
                unknown += len(known) < len(answers)
                if answers and not known and self._trains:
                    continue
                answers = known
            try:
                pairs.append(self.answer_processor(answers))
            except UnknownAnswerError as error:
                raise UnknownAnswerError(
                    f"{self._source}: question {question.question_id!r}: {error}"
                ) from error
            keep.append(position)
        if unknown:
            logger.warning(
                "%s %s: %d questions have answers outside the vocabulary; %d are left out",
                self.dataset_name,
                self._split,
                unknown,
                len(self._questions) - len(keep),
            )
        self._questions = [self._questions[position] for position in keep]
        self._image_rows = self._image_rows[keep]
        sizes = [len(row) for row in pairs]
        self._answer_starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        flat = [pair for row in pairs for pair in row]
        self._answer_rows = np.array([row for row, _ in flat], dtype=np.int64)
        self._answer_scores = np.array([score for _, score in flat], dtype=np.float32)

    def __len__(self) -> int:
        return len(self._image_rows)

    def __getitem__(self, index: int) -> Sample:
        """One question; see ``__getitems__``."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """The questions of a batch; each of their images is read once.

        Returns:
            one ``Sample`` each, with ``question_id``; ``image`` (3, H, W) uint8 and ``image_row``,
            its number in the split; ``input_ids`` and ``input_mask`` (T,) int64; and ``targets``
            (A,) float32 on labelled splits.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        image_rows = self._image_rows[chosen].tolist()
        unique = list(dict.fromkeys(image_rows))
        pictures = dict(zip(unique, self._images.read(unique), strict=True))
        rows = torch.from_numpy(chosen)
        input_ids = self._tokens[rows].long()
        input_mask = (torch.arange(input_ids.shape[1]) < self._lengths[rows, None]).long()
        fields: dict[str, Sequence[Any]] = {
            "question_id": [self._ids[index] for index in chosen],
            "image": [pictures[row] for row in image_rows],
            "image_row": image_rows,
            "input_ids": input_ids.unbind(0),
            "input_mask": input_mask.unbind(0),
        }
        if self.is_labelled:
            fields["targets"] = self._targets(chosen).unbind(0)
        return [
            Sample(dict(zip(fields, values, strict=True)))
            for values in zip(*fields.values(), strict=True)
        ]

    def _targets(self, chosen: np.ndarray) -> torch.Tensor:
        """(B, A) float32 soft targets of these questions."""
        starts = self._answer_starts[chosen]
        sizes = self._answer_starts[chosen + 1] - starts
        rows = np.repeat(np.arange(len(chosen)), sizes)
        # Of each question's run in the flat arrays, every position.
        flat = np.arange(len(rows)) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
        targets = np.zeros((len(chosen), self.answer_processor.get_vocab_size()), np.float32)
        targets[rows, self._answer_rows[flat]] = self._answer_scores[flat]
        return torch.from_numpy(targets)

    def collate(self, samples: Sequence[Sample]) -> SampleList:
        """Make a batch of samples; see the top of this file.

        With ``pad_to: longest`` T is the length of the longest question of the batch.
        """
        batch = SampleList()
        mask = torch.stack([sample["input_mask"] for sample in samples])
        longest = mask.shape[1]
        if self.text_processor.params.pad_to == "longest":
            longest = int(mask.sum(1).max())
        # The first tensor field is the one whose length MMF takes for the batch size.
        ids = torch.stack([sample["input_ids"] for sample in samples])[:, :longest].contiguous()
        batch.add_field("input_ids", ids)
        batch.add_field("input_mask", mask[:, :longest].contiguous())
        batch.add_field("segment_ids", torch.zeros_like(ids))
        if self.is_labelled:
            batch.add_field("targets", torch.stack([sample["targets"] for sample in samples]))
        places: dict[int, int] = {}
        index = [places.setdefault(sample["image_row"], len(places)) for sample in samples]
        batch.add_field("image_index", torch.tensor(index))
        pictures: dict[int, torch.Tensor] = {s["image_row"]: s["image"] for s in samples}
        # Not add_field, which wants as many rows as there are questions.
        batch["images"] = normalize([pictures[row] for row in places], self._mean, self._std)
        batch.add_field("question_id", [sample["question_id"] for sample in samples])
        batch.add_field("dataset_name", self.dataset_name)
        batch.add_field("dataset_type", self.dataset_type)
        return batch

    def build_batch_sampler(
        self, batch_size: int, shuffle: bool, seed: int, rank: int, world_size: int
    ) -> QuestionBatchSampler:
        """The batches of one rank; the bridge's data loader asks for it.

        Args:
            batch_size: of all ranks together.
            shuffle: a new order each epoch (training).
            seed: with the epoch decides the order.
            rank: of this process.
            world_size: number of processes.
        """
        return QuestionBatchSampler(
            self._image_rows,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            rank=rank,
            world_size=world_size,
            group_by_image=self.params.group_by_image,
        )

    def format_for_prediction(self, report: Any) -> list[dict[str, Any]]:
        """Make rows of a VQA leaderboard file: ``{"question_id", "answer"}``.

        Args:
            report: has ``scores`` (B, A), of any float dtype, and ``question_id``, a list of B.
        """
        best = report.scores.argmax(dim=1).tolist()
        return [
            {"question_id": question_id, "answer": self.answer_processor.idx2word(row)}
            for question_id, row in zip(report.question_id, best, strict=True)
        ]
