"""The dataset ``nlvr2``: NLVR2 from its own files or LXMERT's; a sample has two images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.data.files import CatalogueBuilder, FilesParams


@dataclass
class NLVR2Params(FilesParams):
    """The section ``dataset_config.nlvr2``."""

    task: Any = "nlvr2"


@registry.register_builder("nlvr2")
class NLVR2Builder(CatalogueBuilder):
    """Builds NLVR2 (arXiv 1811.00491)."""

    name = "nlvr2"
    params_class = NLVR2Params
