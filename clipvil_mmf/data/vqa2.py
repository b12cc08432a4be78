"""The dataset ``vqa2``: VQA v2 in its official files, LXMERT's or MMF's."""

from __future__ import annotations

from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.data.files_builder import FilesBuilder
from clipvil_mmf.data.vqa2_files import FILES
from clipvil_mmf.paths import config_dir


@registry.register_builder("vqa2")
class VQA2Builder(FilesBuilder):
    """Builds VQA v2; the names of its splits are described in ``vqa2_files.py``.

    It takes the place of MMF's own builder of that name as soon as the plugin is imported
    (``env.user_dir: clipvil_mmf``): MMF's reads extracted features, this one images.
    """

    files = FILES

    def __init__(self, dataset_name: str = "vqa2", *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset_name)

    @classmethod
    def config_path(cls) -> str:
        """The absolute path of the dataset's defaults."""
        return str(config_dir() / "datasets" / "vqa2.yaml")
