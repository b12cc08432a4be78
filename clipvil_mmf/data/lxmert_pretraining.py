"""The dataset ``pretraining``: LXMERT's captions and questions on COCO and Visual Genome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.data.files import CatalogueBuilder, FilesParams


@dataclass
class PretrainingParams(FilesParams):
    """The section ``dataset_config.pretraining``."""

    task: Any = "pretraining"


@registry.register_builder("pretraining")
class PretrainingBuilder(CatalogueBuilder):
    """Builds what CLIP-ViL is pre-trained on (LXMERT, arXiv 1908.07490)."""

    name = "pretraining"
    params_class = PretrainingParams
