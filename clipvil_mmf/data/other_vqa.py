"""The datasets ``okvqa``, ``aokvqa``, ``vizwiz``, ``visual_genome`` and ``textvqa``.

Each from its official files (``catalogue.py``). With ``env.user_dir: clipvil_mmf`` they stand in
the place of MMF's own datasets of these names for the plugin's models; MMF's models keep theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmf.common.registry import registry

from clipvil_mmf.data.files import CatalogueBuilder, FilesParams


@dataclass
class AOKVQAParams(FilesParams):
    """The section ``dataset_config.aokvqa``."""

    task: Any = "aokvqa"


@dataclass
class VizWizParams(FilesParams):
    """The section ``dataset_config.vizwiz``."""

    task: Any = "vizwiz"


@registry.register_builder("okvqa")
class OKVQABuilder(CatalogueBuilder):
    """Builds OK-VQA (arXiv 1906.00067) on COCO's images."""

    name = "okvqa"


@registry.register_builder("aokvqa")
class AOKVQABuilder(CatalogueBuilder):
    """Builds A-OKVQA (arXiv 2206.01718) on COCO's images of 2017."""

    name = "aokvqa"
    params_class = AOKVQAParams


@registry.register_builder("vizwiz")
class VizWizBuilder(CatalogueBuilder):
    """Builds VizWiz (arXiv 1802.08218)."""

    name = "vizwiz"
    params_class = VizWizParams


@registry.register_builder("visual_genome")
class VisualGenomeBuilder(CatalogueBuilder):
    """Builds the questions of Visual Genome (arXiv 1602.07332), which have no splits."""

    name = "visual_genome"


@registry.register_builder("textvqa")
class TextVQABuilder(CatalogueBuilder):
    """Builds TextVQA (arXiv 1904.08920); text in its images is not read."""

    name = "textvqa"
