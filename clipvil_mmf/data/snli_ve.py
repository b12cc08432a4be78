"""The dataset ``snli_ve``: SNLI-VE from its own files or UNITER's, on Flickr30k's images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.data.files import CatalogueBuilder, FilesParams


@dataclass
class SnliVeParams(FilesParams):
    """The section ``dataset_config.snli_ve``."""

    task: Any = "snli_ve"


@registry.register_builder("snli_ve")
class SnliVeBuilder(CatalogueBuilder):
    """Builds SNLI-VE (arXiv 1901.06706)."""

    name = "snli_ve"
    params_class = SnliVeParams
