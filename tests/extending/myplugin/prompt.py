"""A tuning method: trainable prompt tokens before the visual tokens of a frozen network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipvil_mmf.config import check_at_least
from clipvil_mmf.fusion import Fusion, Text, Visual
from clipvil_mmf.tuning import TuningMethod


@dataclass
class PromptConfig:
    """`params` of the method `prompt`."""

    # P, how many tokens are added.
    tokens: int = 8

    def __post_init__(self) -> None:
        check_at_least("tokens", self.tokens, 1)


class Prompt(TuningMethod):
    """P tokens, which begin as word embeddings of the backbone; they and the head are trainable.

    Args:
        config: the method's `params`.
        network: what is tuned.
    """

    def __init__(self, config: PromptConfig, network: Any) -> None:
        super().__init__(config, network)
        self.prompt = nn.Parameter(torch.zeros(config.tokens, network.fusion.hidden_size))

    @torch.no_grad()
    def start_from(self, network: Any) -> None:
        """Take the embeddings of words that are spread over the vocabulary."""
        words = network.fusion.embeddings.word.weight
        rows = torch.linspace(1, len(words) - 1, len(self.prompt)).long()
        self.prompt.copy_(words[rows])

    def read(self, fusion: Fusion, text: Text, visual: Visual) -> Tensor:
        """The fusion's pooled output (B, D) of the text, the prompt and the visual tokens."""
        prompt = self.prompt.expand(len(visual.tokens), -1, -1)
        tokens = torch.cat([prompt, visual.tokens], dim=1)
        mask = visual.mask
        if mask is not None:
            mask = torch.cat([mask.new_ones(prompt.shape[:2]), mask], dim=1)
        return fusion(text, Visual(tokens, mask))
