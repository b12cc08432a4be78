"""The dataset ``easy_vqa``; its splits are described in ``easy_vqa_files.py``."""

from __future__ import annotations

from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.data import easy_vqa_files
from clipvil_mmf.data.builder import ClipVilBuilder
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.paths import config_dir


@registry.register_builder("easy_vqa")
class EasyVQABuilder(ClipVilBuilder):
    """Builds easy-VQA from the files of the PyPI package ``easy-vqa``."""

    def __init__(self, dataset_name: str = "easy_vqa", *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset_name)

    @classmethod
    def config_path(cls) -> str:
        """The absolute path of the dataset's defaults."""
        return str(config_dir() / "datasets" / "easy_vqa.yaml")

    def build(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> None:
        """Fail early, with the command to run, if the package is missing."""
        easy_vqa_files.package_data()

    def table(self, params: Any, split: str) -> QuestionTable:
        """The questions of a split."""
        questions = easy_vqa_files.read_questions(split)
        return QuestionTable.from_questions(questions, f"easy_vqa {split}")

    def answers(self, params: Any) -> list[str]:
        """The package's 13 answers."""
        return easy_vqa_files.read_answers()
