"""`transformers.modeling_bert` as rc7 knows it (release 2.3), on top of transformers 5.

Everything is transformers' own; what is defined here has the calling convention of release 2.3.
Parameter names are those of transformers 5, which are those of 2.3 for everything but
`decoder.bias`, an alias of the prediction head's `bias`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.models.bert import modeling_bert as today
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import (
    BertEmbeddings,
    BertForPreTraining,
    BertIntermediate,
    BertLayer,
    BertModel,
    BertOutput,
    BertPooler,
    BertPredictionHeadTransform,
    BertPreTrainingHeads,
    BertSelfOutput,
)

__all__ = [
    "ACT2FN",
    "BertConfig",
    "BertEmbeddings",
    "BertEncoder",
    "BertForPreTraining",
    "BertIntermediate",
    "BertLMPredictionHead",
    "BertLayer",
    "BertLayerNorm",
    "BertModel",
    "BertOutput",
    "BertPooler",
    "BertPreTrainedModel",
    "BertPreTrainingHeads",
    "BertPredictionHeadTransform",
    "BertSelfOutput",
]

BertLayerNorm = nn.LayerNorm


class BertPreTrainedModel(today.BertPreTrainedModel):
    """A BERT model whose constructor ends with `self.init_weights()`, as was the custom.

    Args:
        config: `output_attentions` selects the attention that keeps its probabilities.
    """

    def __init__(self, config: BertConfig) -> None:
        if config.output_attentions:
            config._attn_implementation = "eager"
        super().__init__(config)

    def init_weights(self) -> None:
        """Initialises the weights; the first call finishes the construction (`post_init`)."""
        if hasattr(self, "all_tied_weights_keys"):  # set by post_init, which then calls us
            super().init_weights()
        else:
            self.post_init()

    def _tie_or_clone_weights(self, first: nn.Module, second: nn.Module) -> None:
        first.weight = second.weight


class BertLMPredictionHead(today.BertLMPredictionHead):
    """Hidden states `(B, T, D)` to scores `(B, T, vocabulary)`.

    transformers ties the decoder's bias to `bias` in whole models only; rc7 uses the head alone,
    where `bias` would be a parameter that nothing reads.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.decoder.bias = self.bias


class BertEncoder(today.BertEncoder):
    """The stack of layers, returning a tuple."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        head_mask: Sequence[torch.Tensor | None] | None = None,
    ) -> tuple[torch.Tensor | tuple[torch.Tensor, ...], ...]:
        """Runs all layers.

        Args:
            hidden_states: `(B, T, D)`.
            attention_mask: added to the attention scores, broadcast to `(B, heads, T, T)`.
            head_mask: one entry a layer, each `None`.

        Returns:
            The last hidden states `(B, T, D)`; then, if the configuration asks for them, the tuple
            of all hidden states (input first) and the tuple of all attention probabilities
            `(B, heads, T, T)`.

        Raises:
            NotImplementedError: a head is masked, which transformers 5 cannot do.
        """
        if head_mask is not None and any(mask is not None for mask in head_mask):
            raise NotImplementedError(
                "BertEncoder: head_mask is not supported on transformers 5; pass None for each "
                "layer (attention heads cannot be masked any more)."
            )
        states, attentions = [hidden_states], []
        for layer in self.layer:
            attended, probabilities = layer.attention(hidden_states, attention_mask)
            hidden_states = layer.feed_forward_chunk(attended)
            states.append(hidden_states)
            attentions.append(probabilities)
        outputs = (hidden_states,)
        if self.config.output_hidden_states:
            outputs += (tuple(states),)
        if self.config.output_attentions:
            outputs += (tuple(attentions),)
        return outputs
