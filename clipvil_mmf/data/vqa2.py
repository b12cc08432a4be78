"""The dataset ``vqa2``: VQA v2 from its official files, LXMERT's, or those of MMF's zoo.

With ``env.user_dir: clipvil_mmf`` it stands in the place of MMF's own ``vqa2`` for the
plugin's models; MMF's models keep theirs, whose batches hold region features.
"""

from __future__ import annotations

from mmf.common.registry import registry

from clipvil_mmf.data.files import CatalogueBuilder

_OF_LXMERT = ("minival", "nominival")


@registry.register_builder("vqa2")
class VQA2Builder(CatalogueBuilder):
    """Builds VQA v2 (arXiv 1612.00837) on COCO's images."""

    name = "vqa2"

    def hint(self, part: str) -> str:
        """The official splits as a way out, where LXMERT's files are missing."""
        if part not in _OF_LXMERT:
            return ""
        return (
            ". minival and nominival are LXMERT's two parts of val2014; with the official files "
            "alone, use dataset_config.vqa2.annotations.train=train and "
            "dataset_config.vqa2.annotations.val=val"
        )
