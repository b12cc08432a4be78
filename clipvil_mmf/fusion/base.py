"""What every fusion is: text and visual tokens -> hidden states -> one vector."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from torch import Tensor, nn

from clipvil_mmf.fusion.config import FusionConfig
from clipvil_mmf.layers.published import Names
from clipvil_mmf.layers.recompute import run
from clipvil_mmf.layers.tokens import Text, Visual
from clipvil_mmf.layers.transformer import Attention, TransformerLayer

# An attention layer, whose tokens attend, and to whose: "text", "visual" or "both" side by side.
AttentionRead = tuple[Attention, str, str]


class Fusion(nn.Module):
    """Text tokens (B, T) and visual tokens (B, N, D) -> pooled (B, D).

    A fusion of one's own gives :meth:`forward`; the other methods serve pre-training
    (:meth:`language_states`) and the tuning methods that read hidden states
    (:meth:`hidden_states`, with `layers` and `embeddings.word`). One that runs a part of the image
    encoder takes it in :meth:`attach`.

    Args:
        config: its `params`.

    Attributes:
        has_hidden_states: whether it gives :meth:`hidden_states`.
        published_names: see :mod:`clipvil_mmf.layers.published`; empty without a counterpart.
        published_unused: published prefix -> why no parameter takes it.
    """

    has_hidden_states: ClassVar[bool] = False
    published_names: ClassVar[Names] = {}
    published_unused: ClassVar[Names] = {}

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config

    def attach(self, image_encoder: nn.Module) -> None:
        """Take what it runs of the network's image encoder; by default nothing.

        Raises:
            ConfigError: the image encoder is of another kind than it needs.
        """

    @property
    def hidden_size(self) -> int:
        """D, the width of tokens and of the pooled output."""
        return self.config.hidden_size

    def forward(self, text: Text, visual: Visual) -> Tensor:
        """The pooled output (B, D)."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def language_states(self, text: Text, visual: Visual) -> Tensor:
        """The last layer's output for the text: (B, T, D)."""
        raise NotImplementedError(f"{type(self).__name__} gives no states of the text")

    def hidden_states(self, text: Text, visual: Visual) -> Iterator[Tensor]:
        """Yield the embeddings and then each layer's output, all (B, T+N, D), as they appear."""
        raise NotImplementedError(f"{type(self).__name__} gives no hidden states")

    def pool(self, hidden: Tensor) -> Tensor:
        """(B, L, D) -> (B, D), from token 0."""
        raise NotImplementedError(f"{type(self).__name__} has no pooler")

    def attention_steps(self) -> list[list[AttentionRead]]:
        """The attention layers in the order in which :meth:`forward` calls them.

        Those of a step read the same states. Maps of attention are made of them
        (:mod:`clipvil_mmf.explaining`); none, as here, for a fusion that they do not fit.
        """
        return []


class BertFusion(Fusion):
    """A fusion of BERT's layers, whose last one computes no more than what is read of it."""

    def forward(self, text: Text, visual: Visual) -> Tensor:
        """The pooled output (B, D); the last layer gives token 0 alone."""
        return self.pool(self._read(1, text, visual))

    def language_states(self, text: Text, visual: Visual) -> Tensor:
        """The last layer's output for the text: (B, T, D)."""
        return self._read(text.input_ids.shape[1], text, visual)

    @abstractmethod
    def _read(self, count: int, text: Text, visual: Visual) -> Tensor:
        """The last layer's output for the first `count` tokens of the text: (B, count, D)."""

    def _run(self, layer: Callable[..., Any], *inputs: Any) -> Any:
        """Call a layer, whose activations are kept or recomputed as the configuration says."""
        return run(layer, *inputs, recompute=self.config.checkpoint_activations)


def transformer_layers(config: FusionConfig, count: int) -> nn.ModuleList:
    """`count` layers of a fusion's widths and dropout."""
    return nn.ModuleList(
        TransformerLayer(
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            attention_dropout=config.attention_probs_dropout_prob,
            hidden_dropout=config.hidden_dropout_prob,
        )
        for _ in range(count)
    )
