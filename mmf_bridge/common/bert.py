"""`transformers.modeling_bert` as MMF knows it (releases 2.3 to 3.4), on top of transformers 5.

Everything is transformers' own; what is defined here has the calling convention of those releases:
layers return tuples, masks are added to the attention scores, constructors end with
`init_weights`. Parameter names are those of transformers 5, which are those of 2.3 for everything
but `decoder.bias`, an alias of the prediction head's `bias`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers.models.bert import modeling_bert as today
from transformers.models.bert.modeling_bert import (  # noqa: F401 (MMF imports them from here)
    ACT2FN,
    BertConfig,
    BertForPreTraining,
    BertIntermediate,
    BertOnlyMLMHead,
    BertOnlyNSPHead,
    BertOutput,
    BertPooler,
    BertPredictionHeadTransform,
    BertPreTrainingHeads,
    BertSelfOutput,
)

BertLayerNorm = nn.LayerNorm


class InitWeights:
    """Lets a model's constructor end with `self.init_weights()`, or without it, as it used to."""

    # Read by `from_pretrained`, set by `post_init`; TorchScript knows no annotation for it.
    all_tied_weights_keys = {}  # noqa: RUF012

    def init_weights(self) -> None:
        """Initialises the weights; the first call finishes the construction (`post_init`)."""
        if "all_tied_weights_keys" in vars(self):  # by post_init, which then calls us
            super().init_weights()
        else:
            self.post_init()


class BertPreTrainedModel(InitWeights, today.BertPreTrainedModel):
    """What MMF derives its models from; `output_attentions` needs the eager attention."""

    def __init__(self, config: BertConfig) -> None:
        if config.output_attentions:
            config._attn_implementation = "eager"
        super().__init__(config)

    def _tie_or_clone_weights(self, first: nn.Module, second: nn.Module) -> None:
        first.weight = second.weight


class BertEmbeddings(today.BertEmbeddings):
    """Of words, positions and segments; a class of its own, which MMF may change."""


class BertSelfAttention(today.BertSelfAttention):
    """Attention of hidden states to themselves or to those of another stream."""

    def transpose_for_scores(self, x: torch.Tensor) -> torch.Tensor:
        """Splits `(B, T, D)` into `(B, heads, T, D / heads)`."""
        return x.unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        output_attentions: bool = True,
    ) -> tuple[torch.Tensor, ...]:
        """Attends from `(B, T, D)` to itself, or to another stream `(B, S, D)` if there is one.

        Masks are added to the scores, broadcast to `(B, heads, T, T or S)`.

        Returns:
            The attended `(B, T, D)`, and the probabilities `(B, heads, T, T or S)`.

        Raises:
            NotImplementedError: a head is masked.
        """
        refuse_masked_heads(head_mask)
        source = hidden_states
        if encoder_hidden_states is not None:
            source, attention_mask = encoder_hidden_states, encoder_attention_mask
        context, probabilities = today.eager_attention_forward(
            self,
            self.transpose_for_scores(self.query(hidden_states)),
            self.transpose_for_scores(self.key(source)),
            self.transpose_for_scores(self.value(source)),
            attention_mask,
            dropout=self.dropout.p,
        )
        context = context.flatten(2)
        return (context, probabilities) if output_attentions else (context,)


class BertAttention(today.BertAttention):
    """`BertSelfAttention` with the residual connection; arguments are the same."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.self = BertSelfAttention(config)

    def forward(
        self, hidden_states: torch.Tensor, *args: torch.Tensor | None, **kwargs: object
    ) -> tuple[torch.Tensor, ...]:
        """Returns the hidden states `(B, T, D)`, and what the attention returns besides."""
        attended, *rest = self.self(hidden_states, *args, **kwargs)
        return (self.output(attended, hidden_states), *rest)


class BertLayer(today.BertLayer):
    """One layer of the encoder, returning a tuple."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.attention = BertAttention(config)

    def forward(
        self, hidden_states: torch.Tensor, *args: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """Returns the hidden states `(B, T, D)` and the probabilities `(B, heads, T, T)`."""
        attended, *rest = self.attention(hidden_states, *args)
        return (self.feed_forward_chunk(attended), *rest)


class BertLMPredictionHead(today.BertLMPredictionHead):
    """Its decoder's bias is `bias`, which transformers ties in whole models only."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.decoder.bias = self.bias


class BertEncoder(today.BertEncoder):
    """The stack of layers, returning a tuple."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.layer = nn.ModuleList(BertLayer(config) for _ in self.layer)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        head_mask: Sequence[torch.Tensor | None] | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> tuple[torch.Tensor | tuple[torch.Tensor, ...], ...]:
        """Runs all layers on `(B, T, D)`, with a mask that is added to the attention scores.

        Returns:
            The last hidden states `(B, T, D)`; then, if arguments or the configuration ask for
            them, the tuple of all hidden states (input first) and the tuple of all attention
            probabilities `(B, heads, T, T)`.

        Raises:
            NotImplementedError: a head is masked.
        """
        refuse_masked_heads(head_mask)
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        states, attentions = (hidden_states,), ()
        for layer in self.layer:
            hidden_states, probabilities = layer(hidden_states, attention_mask)
            states += (hidden_states,)
            attentions += (probabilities,)
        outputs = (hidden_states,)
        if output_hidden_states:
            outputs += (states,)
        return (*outputs, attentions) if output_attentions else outputs


class BertModel(today.BertModel):
    """A whole BERT whose encoder has the old convention (MMF takes models apart)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.encoder = BertEncoder(config)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Runs all of it on ids `(B, T)` int64; the mask `(B, T)` is 1 where there is a token.

        Returns:
            The hidden states `(B, T, D)`, the pooled ones `(B, D)`, and what the encoder returns
            besides.
        """
        hidden_states = self.embeddings(input_ids, token_type_ids)
        if attention_mask is not None:
            attention_mask = (1.0 - attention_mask[:, None, None].to(hidden_states)) * -10000.0
        hidden_states, *rest = self.encoder(hidden_states, attention_mask)
        return (hidden_states, self.pooler(hidden_states), *rest)


def refuse_masked_heads(head_mask: Sequence[torch.Tensor | None] | torch.Tensor | None) -> None:
    """Raises `NotImplementedError` unless every entry of a head mask is `None`."""
    if head_mask is not None and any(mask is not None for mask in head_mask):
        raise NotImplementedError(
            "BERT: head_mask is not supported on transformers 5; pass None for each layer "
            "(attention heads cannot be masked any more)."
        )
