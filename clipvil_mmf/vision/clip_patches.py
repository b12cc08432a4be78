"""Patches of a ViT before its blocks, which the fusion `vilt` runs on them and the text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.layers.tokens import Visual
from clipvil_mmf.vision.clip_grid import ClipGridConfig, ClipGridEncoder


class ClipPatches(ClipGridEncoder):
    """A CLIP ViT's class token and patches with their positions, after the first LayerNorm.

    The blocks are the tower's, though a fusion runs them: a CLIP model brings their weights, and
    the optimizer counts them as the tower's, as published.

    Raises:
        ConfigError: the tower is not one of open_clip's own ViTs.
    """

    def __init__(self, config: ClipGridConfig) -> None:
        from open_clip.transformer import VisionTransformer

        super().__init__(config)
        if not isinstance(self.tower, VisionTransformer):
            raise ConfigError("name: clip_patches takes a ViT of open_clip, such as ViT-B-32.")

    @property
    def blocks(self) -> nn.ModuleList:
        """The tower's blocks up to `layer`."""
        return self.tower.transformer.resblocks

    @property
    def last_norm(self) -> nn.Module:
        """The LayerNorm behind them."""
        return self.tower.ln_post

    def _encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + h*w, C)."""
        tower = self.tower
        patches = tower.conv1(images).flatten(2).transpose(1, 2)
        first = tower.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.positions(images).to(patches.dtype)
        return tower.ln_pre(tokens)


class TokenEmbedding(nn.Module):
    """Tokens that are visual tokens already."""

    def forward(self, tokens: Tensor) -> Visual:
        """(B_img, N, D) as they are."""
        return Visual(tokens)
