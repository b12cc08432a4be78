"""LXMERT's fusion: an encoder for each modality, then layers that attend across both."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from clipvil_mmf.config import check_at_least
from clipvil_mmf.fusion.config import FusionConfig
from clipvil_mmf.fusion.layers import (
    Attention,
    attention_bias,
    init_bert_weights,
    run,
    transformer_layers,
)
from clipvil_mmf.fusion.text_embedding import TextEmbedding


@dataclass
class CrossModalConfig(FusionConfig):
    """`params` of the fusion `cross_modal`: those of :class:`FusionConfig`, and three depths."""

    # Layers over the text alone; 0 or more.
    language_layers: int = 9
    # Layers across both modalities; at least 1, because only they show the image to the text.
    cross_layers: int = 5
    # Layers over the visual tokens alone (LXMERT's object-relationship encoder); 0 or more.
    visual_layers: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("language_layers", self.language_layers, 0)
        check_at_least("cross_layers", self.cross_layers, 1)
        check_at_least("visual_layers", self.visual_layers, 0)


class CrossModalLayer(nn.Module):
    """One cross-modality layer: each side attends to the other, then to itself.

    Both directions of the cross attention share one set of weights, as in LXMERT's code.

    Args:
        config: widths and dropout.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.cross_attention = Attention(
            config.hidden_size,
            config.num_attention_heads,
            attention_dropout=config.attention_probs_dropout_prob,
            hidden_dropout=config.hidden_dropout_prob,
        )
        self.language, self.visual = transformer_layers(config, 2)

    def forward(
        self,
        language: Tensor,
        visual: Tensor,
        language_bias: Tensor | None = None,
        visual_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Let both sides see each other; both attend to the other's input, not its output.

        Args:
            language: (B, T, D).
            visual: (B, N, D).
            language_bias: of the text's padding, see :func:`attention_bias`.
            visual_bias: of the visual tokens' padding.

        Returns:
            Language (B, T, D) and visual (B, N, D).
        """
        language_seen = self.cross_attention(language, visual, visual_bias)
        visual_seen = self.cross_attention(visual, language, language_bias)
        return (
            self.language(language_seen, bias=language_bias),
            self.visual(visual_seen, bias=visual_bias),
        )

    def read_language(
        self,
        count: int,
        language: Tensor,
        visual: Tensor,
        language_bias: Tensor | None = None,
        visual_bias: Tensor | None = None,
    ) -> Tensor:
        """What :meth:`forward` gives for the first `count` language tokens: (B, count, D).

        The visual side, most of the layer's work, is left out.
        """
        seen = self.cross_attention(language, visual, visual_bias)
        return self.language(seen[:, :count], seen, language_bias)


class CrossModalFusion(nn.Module):
    """LXMERT (arXiv 1908.07490): two encoders, cross-modality layers, a tanh pooler on token 0.

    Nothing reads the visual tokens behind the last layer, so its visual half gets no gradient, here
    as in LXMERT's own code. It is kept, because published checkpoints have it and :meth:`encode`
    computes it, but does not ask for gradients: distributed training waits for every parameter
    that does. Ask for them (`cross_layers[-1].visual.requires_grad_()`) to train on its
    output.

    Args:
        config: widths, depths and dropout.
    """

    def __init__(self, config: CrossModalConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = TextEmbedding(config)
        self.language_layers = transformer_layers(config, config.language_layers)
        self.visual_layers = transformer_layers(config, config.visual_layers)
        self.cross_layers = nn.ModuleList(
            CrossModalLayer(config) for _ in range(config.cross_layers)
        )
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        init_bert_weights(self, config.initializer_range)
        self.cross_layers[-1].visual.requires_grad_(False)

    @property
    def hidden_size(self) -> int:
        """D, the width of tokens and of the pooled output."""
        return self.config.hidden_size

    def forward(
        self,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        visual_tokens: Tensor,
        visual_mask: Tensor | None = None,
    ) -> Tensor:
        """Encode questions with their images.

        Only language token 0 is read after the last layer, so that layer computes little else.

        Args:
            input_ids: (B, T) int64.
            input_mask: (B, T), 1 for word pieces, 0 for padding.
            segment_ids: (B, T) int64.
            visual_tokens: (B, N, D).
            visual_mask: (B, N), 1 for tokens, 0 for padding; None when all are tokens.

        Returns:
            Pooled output (B, D).
        """
        text = (input_ids, input_mask, segment_ids)
        return self.pool(self._read(1, *text, visual_tokens, visual_mask))

    def language_states(
        self,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        visual_tokens: Tensor,
        visual_mask: Tensor | None = None,
    ) -> Tensor:
        """The last layer's output for the text: (B, T, D); arguments as for :meth:`forward`."""
        text = (input_ids, input_mask, segment_ids)
        return self._read(input_ids.shape[1], *text, visual_tokens, visual_mask)

    def encode(
        self,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        visual_tokens: Tensor,
        visual_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Both sides of the last layer: language (B, T, D) and visual (B, N, D).

        Arguments are those of :meth:`forward`; :meth:`pool` takes the language side.
        """
        text = (input_ids, input_mask, segment_ids)
        language, visual, *biases = self._before_last(*text, visual_tokens, visual_mask)
        return run(self.cross_layers[-1], language, visual, *biases, again=self._again)

    def pool(self, language: Tensor) -> Tensor:
        """(B, L, D) -> (B, D), from token 0."""
        return self.pooler(language[:, 0]).tanh()

    @property
    def _again(self) -> bool:
        return self.config.checkpoint_activations

    def _read(self, count: int, *inputs: Tensor | None) -> Tensor:
        """The last layer's output for the first `count` language tokens: (B, count, D)."""
        states = self._before_last(*inputs)
        return run(self.cross_layers[-1].read_language, count, *states, again=self._again)

    def _before_last(
        self,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        visual_tokens: Tensor,
        visual_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Both sides before the last cross-modality layer, and the biases of their padding."""
        language_bias = attention_bias(input_mask)
        visual_bias = None if visual_mask is None else attention_bias(visual_mask)
        language = self.embeddings(input_ids, segment_ids)
        language = self._run_all(self.language_layers, language, language_bias)
        visual = self._run_all(self.visual_layers, visual_tokens, visual_bias)
        for layer in self.cross_layers[:-1]:
            language, visual = run(
                layer, language, visual, language_bias, visual_bias, again=self._again
            )
        return language, visual, language_bias, visual_bias

    def _run_all(self, layers: nn.ModuleList, hidden: Tensor, bias: Tensor | None) -> Tensor:
        for layer in layers:
            hidden = run(layer, hidden, None, bias, again=self._again)
        return hidden
