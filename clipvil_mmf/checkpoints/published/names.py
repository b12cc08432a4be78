"""How our names and published ones belong together, put together from what components say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.fusion import FUSIONS
from clipvil_mmf.heads import HEADS
from clipvil_mmf.heads.pretraining import PretrainingHeads
from clipvil_mmf.layers.published import Names
from clipvil_mmf.tuning import METHODS
from clipvil_mmf.vision import IMAGE_ENCODERS, RegionEmbedding, VisualEmbedding


@dataclass(frozen=True)
class NameTable:
    """The names of one architecture, as fine-tuned (``BEST.pth``); they read both ways.

    Args:
        names: our prefix -> published prefix; ``{}`` stands for a number on both sides.
        unused: published prefix -> why no parameter of ours takes it.
    """

    names: Names
    unused: Names

    def published(self, ours: str) -> str:
        """The published key of one of our parameters or buffers.

        A matrix under LoRA has the key that it has without.

        Raises:
            CheckpointError: the published models have no counterpart.
        """
        translated = self.find_published(ours)
        if translated is not None:
            return translated
        raise CheckpointError(
            f"{ours} has no counterpart in the published models: its component is not one of "
            "theirs, so that the model cannot be written in their layout. It stays usable as it is "
            "(clipvil_mmf.from_pretrained, model_config.clipvil.pretrained)."
        )

    def find_published(self, ours: str) -> str | None:
        """The same, None where the published models have no counterpart."""
        untuned = {kind.backbone_name(ours) for _, kind in METHODS.values()} - {None, ours}
        found = (_translate(self._to_published, name) for name in (*untuned, ours))
        return next(filter(None, found), None)

    def ours(self, published: str) -> str | None:
        """Our name of a published key, None where the table has none."""
        return _translate(self._to_ours, published)

    def why_unused(self, published: str) -> str | None:
        """Why we have no counterpart to a published key, None where the table does not say."""
        fitting = (why for prefix, why in self.unused.items() if published.startswith(prefix))
        return next(fitting, None)

    @cached_property
    def _to_published(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_pattern(ours), theirs) for ours, theirs in self.names.items()]

    @cached_property
    def _to_ours(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_pattern(theirs), ours) for ours, theirs in self.names.items()]


def table_with(fusion: str) -> NameTable:
    """The table of the networks with this fusion.

    Nobody has published LXMERT under a tuning method: such names are made as CLIP-ViL's are.
    """
    kinds = {
        "image_encoder.": [kind for _, kind in IMAGE_ENCODERS.values()],
        "visual_embedding.": [VisualEmbedding, RegionEmbedding],
        "fusion.": [FUSIONS[fusion][1]],
        "classifier.": [kind for _, kind in HEADS.values()],
        "pretraining.": [PretrainingHeads],
    }
    names, added, unused = {}, {}, {}
    for part, classes in kinds.items():
        for kind in classes:
            names |= {f"{part}{ours}": theirs for ours, theirs in kind.published_names.items()}
            unused |= kind.published_unused
    of_fusion = {ours: theirs for ours, theirs in names.items() if ours.startswith("fusion.")}
    for _, method in METHODS.values():
        added |= method.published_names_beside(of_fusion)
        unused |= method.published_unused
    # The added ones first: names of low-rank factors begin with those of their matrix.
    return NameTable({**added, **names}, unused)


def table_for(ours: Iterable[str]) -> NameTable:
    """The table of a network, from the names of its parameters."""
    return _table_where(any(name.startswith("fusion.cross_layers.") for name in ours))


def table_of_published(published: Iterable[str]) -> NameTable:
    """The table of a checkpoint, from its keys under the names of `BEST.pth`."""
    return _table_where(any(".encoder.x_layers." in key for key in published))


def _table_where(has_cross_layers: bool) -> NameTable:
    return table_with("cross_modal" if has_cross_layers else "joint")


def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(re.escape(prefix).replace(r"\{\}", r"(\d+)"))


def _translate(rules: list[tuple[re.Pattern[str], str]], name: str) -> str | None:
    for pattern, target in rules:
        match = pattern.match(name)
        if match:
            return target.format(*match.groups()) + name[match.end() :]
    return None
