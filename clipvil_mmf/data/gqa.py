"""The dataset ``gqa``: GQA in its official files, LXMERT's or MMF's."""

from __future__ import annotations

from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.data.files_builder import FilesBuilder
from clipvil_mmf.data.gqa_files import FILES
from clipvil_mmf.paths import config_dir


@registry.register_builder("gqa")
class GQABuilder(FilesBuilder):
    """Builds GQA; the names of its splits are described in ``gqa_files.py``.

    On MMF's main line it takes the place of MMF's own builder of that name, as soon as the plugin
    is imported (``env.user_dir: clipvil_mmf``).
    """

    files = FILES
    prediction_fields = ("questionId", "prediction")

    def __init__(self, dataset_name: str = "gqa", *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset_name)

    @classmethod
    def config_path(cls) -> str:
        """The absolute path of the dataset's defaults."""
        return str(config_dir() / "datasets" / "gqa.yaml")
