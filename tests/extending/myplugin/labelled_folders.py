"""A data set: `<data_dir>/<split>/<label>/*.png`, each image asked what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.data.builder import ClipVilBuilder
from clipvil_mmf.data.questions import Question
from clipvil_mmf.data.table import QuestionTable


@registry.register_builder("labelled_folders")
class LabelledFoldersBuilder(ClipVilBuilder):
    """Builds the data set from the names of its folders."""

    def __init__(self, dataset_name: str = "labelled_folders", *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset_name)

    @classmethod
    def config_path(cls) -> str:
        """The absolute path of the data set's defaults."""
        return str(Path(__file__).with_name("labelled_folders.yaml"))

    def table(self, params: Any, split: str) -> QuestionTable | None:
        """The questions of a split; None where there is no such folder."""
        images = sorted(Path(params.data_dir, split).glob("*/*.png"))
        questions = [
            Question(
                question_id=str(image.relative_to(params.data_dir)),
                text="What is this?",
                image=str(image),
                answers={image.parent.name: 1.0},
            )
            for image in images
        ]
        return (
            QuestionTable.from_questions(questions, f"{params.data_dir}/{split}")
            if images
            else None
        )

    def labels(self, params: Any) -> list[str]:
        """The rows of the head, where `answer_processor.params.vocab` is `dataset`."""
        return sorted(folder.name for folder in Path(params.data_dir, "train").iterdir())
