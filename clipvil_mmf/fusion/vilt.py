"""Text beside an image's patches in the blocks of a CLIP ViT: `--vilt_style` of CLIP-ViL's code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError, check_at_least
from clipvil_mmf.fusion.base import BertFusion
from clipvil_mmf.fusion.config import FusionConfig
from clipvil_mmf.fusion.text_embedding import TextEmbedding
from clipvil_mmf.layers.published import BERT, TEXT_EMBEDDING, TEXT_UNUSED, Names
from clipvil_mmf.layers.tokens import Text, Visual, joint_mask
from clipvil_mmf.layers.transformer import attention_bias, init_bert_weights


@dataclass
class ViltConfig(FusionConfig):
    """`params` of the fusion `vilt`; heads and inner widths of the blocks are the tower's."""

    # How often the tokens go through the blocks. Published: 2, where only the first one masks the
    # text's padding, and that of other samples than its own; here each masks its own.
    rounds: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("rounds", self.rounds, 1)


class ViltFusion(BertFusion):
    """BERT's text embedding, the blocks of the image encoder `clip_patches`, a linear pooler.

    As in ViLT (arXiv 2102.03334) there is one stack of blocks for both, text first.
    """

    published_names: ClassVar[Names] = {**TEXT_EMBEDDING, "pooler.": f"{BERT}pooler.dense."}
    published_unused = TEXT_UNUSED

    def __init__(self, config: ViltConfig) -> None:
        super().__init__(config)
        self.embeddings = TextEmbedding(config)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        init_bert_weights(self, config.initializer_range)

    def attach(self, image_encoder: nn.Module) -> None:
        """See :meth:`Fusion.attach`."""
        if not hasattr(image_encoder, "blocks") or not hasattr(image_encoder, "last_norm"):
            raise ConfigError(
                "fusion.type: vilt runs the blocks of a ViT: set image_encoder.type to "
                "clip_patches."
            )
        if image_encoder.out_channels != self.hidden_size:
            raise ConfigError(
                f"fusion.params.hidden_size: {self.hidden_size}, but the tower's blocks are "
                f"{image_encoder.out_channels} wide; set it to that."
            )
        # In a tuple, so that its parameters are not counted as the fusion's a second time.
        self._tower = (image_encoder,)

    def pool(self, hidden: Tensor) -> Tensor:
        """(B, L, D) -> (B, D), from token 0."""
        return self.pooler(hidden[:, 0])

    def _read(self, count: int, text: Text, visual: Visual) -> Tensor:
        (tower,) = self._tower
        words = self.embeddings(text.input_ids, text.segment_ids)
        hidden = torch.cat([words, visual.tokens], dim=1)
        bias = attention_bias(joint_mask(text, visual))
        for _ in range(self.config.rounds):
            for block in tower.blocks:
                hidden = self._run(_block, block, hidden, bias)
        return tower.last_norm(hidden[:, :count])


def _block(block: nn.Module, hidden: Tensor, bias: Tensor | None) -> Tensor:
    """One of open_clip's blocks, whose mask is (B * heads, S, S)."""
    if bias is None:
        return block(hidden)
    length = hidden.shape[1]
    mask = bias.expand(-1, block.attn.num_heads, length, -1).flatten(0, 1)
    return block(hidden, attn_mask=mask)
