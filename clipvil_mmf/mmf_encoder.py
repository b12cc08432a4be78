"""The encoder ``clip_grid`` in MMF main's own registry: a model of MMF's can name it."""

from __future__ import annotations

import functools
from typing import Any

from mmf.common.registry import registry
from torch import Tensor

from clipvil_mmf.config import from_config
from clipvil_mmf.vision.clip_grid import ClipGridConfig, ClipGridEncoder

NAME = "clip_grid"


def build_clip_grid(config: Any, *args: Any, **kwargs: Any) -> Any:
    """What MMF's ``build_encoder`` calls: an encoder of the keys of ``ClipGridConfig``."""
    return _encoder_class()(config)


@functools.cache
def _encoder_class() -> type:
    # Imported here: the module of its base brings transformers, which a start does without.
    from mmf.modules.encoders import Encoder

    class MmfClipGrid(Encoder):
        """Grid features of a vision tower, as tokens.

        Args:
            config: the keys of ``ClipGridConfig``.

        Attributes:
            out_dim: C, the width of the tokens.
        """

        def __init__(self, config: Any) -> None:
            super().__init__()
            self.module = ClipGridEncoder(from_config(ClipGridConfig, config, NAME))
            self.out_dim = self.module.out_channels

        def forward(self, images: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            """Images (B, 3, H, W) -> tokens (B, h*w, C), the grid row by row."""
            return self.module(images).flatten(2).transpose(1, 2)

    return MmfClipGrid


# rc7 has no registry of encoders. A name that is taken stays.
if "encoder_name_mapping" in registry.mapping:
    registry.mapping["encoder_name_mapping"].setdefault(NAME, build_clip_grid)
