"""The dataset ``clipvil_custom``: a folder of images and JSON files of questions."""

from __future__ import annotations

from mmf.common.registry import registry

from clipvil_mmf.data.files import FilesBuilder


@registry.register_builder("clipvil_custom")
class CustomBuilder(FilesBuilder):
    """Builds a dataset of one's own; its files may have any format of ``formats/``."""

    name = "clipvil_custom"
