"""The dataset ``easy_vqa``; its splits are described in ``easy_vqa_files.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.config import ConfigError, check_choice
from clipvil_mmf.data import easy_vqa_files
from clipvil_mmf.data.builder import ClipVilBuilder
from clipvil_mmf.data.dataset import DatasetParams
from clipvil_mmf.data.table import QuestionTable


@dataclass
class EasyVQAParams(DatasetParams):
    """The section ``dataset_config.easy_vqa``."""

    # Which questions of every split are used: names of `easy_vqa_files.QUESTION_TYPES`; null for
    # all. The vocabularies of words and answers stay those of all questions, so that a model of
    # some types can be tuned to others.
    question_types: list[str] | None = None
    # Sentences about the images in the place of the questions, for the task pretraining.
    captions: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.captions and self.question_types is not None:
            raise ConfigError("question_types: captions have none; expected null.")
        if self.zoo_requirements:
            raise ConfigError(
                "zoo_requirements: easy_vqa is read from the package easy-vqa; expected []."
            )
        if self.question_types == []:
            raise ConfigError(
                "question_types: the list is empty; expected one type or more, or null for all. "
                f"Choices: {', '.join(easy_vqa_files.QUESTION_TYPES)}."
            )
        for name in self.question_types or ():
            check_choice("question_types", name, easy_vqa_files.QUESTION_TYPES)


@registry.register_builder("easy_vqa")
class EasyVQABuilder(ClipVilBuilder):
    """Builds easy-VQA from the files of the PyPI package ``easy-vqa``."""

    name = "easy_vqa"
    params_class = EasyVQAParams

    def build(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> None:
        """Fail early, with the command to run, if the package is missing."""
        easy_vqa_files.package_data()

    def table(self, params: Any, split: str) -> QuestionTable:
        """The questions of a split, of the types that are asked for; or its captions."""
        if params.captions:
            captions = easy_vqa_files.read_captions(split)
            return QuestionTable.from_questions(captions, f"easy_vqa {split} (captions)")
        types = params.question_types
        questions = easy_vqa_files.read_questions(split, types=types)
        source = f"easy_vqa {split}" + (f" ({', '.join(types)})" if types else "")
        return QuestionTable.from_questions(questions, source)

    def vocabulary_texts(self, params: Any, train: QuestionTable | None) -> Sequence[str]:
        """The training questions of all types."""
        return [question.text for question in easy_vqa_files.read_questions("train")]

    def labels(self, params: Any) -> list[str]:
        """The package's 13 answers."""
        return easy_vqa_files.read_answers()
