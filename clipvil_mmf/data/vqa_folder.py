"""The dataset ``vqa_folder``: your own data, a folder of images and JSON files of questions."""

from __future__ import annotations

from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.data.files_builder import FilesBuilder
from clipvil_mmf.data.split_files import SplitFiles
from clipvil_mmf.paths import config_dir


@registry.register_builder("vqa_folder")
class VQAFolderBuilder(FilesBuilder):
    """Builds a dataset of question files in any known format; your own: ``formats/plain.py``."""

    files = SplitFiles(vocabularies=("answers.txt", "answers.json"))

    def __init__(self, dataset_name: str = "vqa_folder", *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset_name)

    @classmethod
    def config_path(cls) -> str:
        """The absolute path of the dataset's defaults."""
        return str(config_dir() / "datasets" / "vqa_folder.yaml")
