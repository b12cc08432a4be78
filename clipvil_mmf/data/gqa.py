"""The dataset ``gqa``: GQA from its official files, LXMERT's, or those of MMF's zoo.

With ``env.user_dir: clipvil_mmf`` it stands in the place of MMF main's own ``gqa`` for the
plugin's models; MMF's models keep theirs, whose batches hold region features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.data.files import CatalogueBuilder, FilesParams


@dataclass
class GQAParams(FilesParams):
    """The section ``dataset_config.gqa``."""

    task: Any = "gqa"


@registry.register_builder("gqa")
class GQABuilder(CatalogueBuilder):
    """Builds GQA (arXiv 1902.09506)."""

    name = "gqa"
    params_class = GQAParams
