"""LXMERT's fusion: an encoder for each modality, then layers that attend across both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from clipvil_mmf.config import check_at_least, check_at_most
from clipvil_mmf.fusion.base import AttentionRead, BertFusion, transformer_layers
from clipvil_mmf.fusion.config import MOST_LAYERS, FusionConfig
from clipvil_mmf.fusion.text_embedding import TextEmbedding
from clipvil_mmf.layers.published import (
    BERT,
    TEXT_EMBEDDING,
    TEXT_UNUSED,
    Names,
    attention_names,
    feed_forward_names,
    layer_names,
)
from clipvil_mmf.layers.tokens import Text, Visual
from clipvil_mmf.layers.transformer import Attention, attention_bias, init_bert_weights


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
        for key in ("language_layers", "cross_layers", "visual_layers"):
            check_at_most(key, getattr(self, key), MOST_LAYERS)


class CrossModalLayer(nn.Module):
    """One cross-modality layer: each side attends to the other, then to itself.

    Both directions of the cross attention share one set of weights, as in LXMERT's code.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.cross_attention = Attention(
            *(config.hidden_size, config.num_attention_heads),
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
            language: (B, T, D), as what is returned first.
            visual: (B, N, D), as what is returned second.
            language_bias: of the text's padding, see :func:`attention_bias`.
            visual_bias: of the visual tokens' padding.
        """
        words = self.cross_attention(language, visual, visual_bias)
        seen = self.cross_attention(visual, language, language_bias)
        return self.language(words, bias=language_bias), self.visual(seen, bias=visual_bias)

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


def _side_of_cross_layer(ours: str, theirs: str) -> dict[str, str]:
    """`theirs` is `lang` or `visn`."""
    layer = f"{BERT}encoder.x_layers.{{}}.{theirs}_"
    ours = f"cross_layers.{{}}.{ours}."
    return {
        **attention_names(
            f"{ours}attention.", f"{layer}self_att.self.", f"{layer}self_att.output."
        ),
        **feed_forward_names(f"{ours}feed_forward.", f"{layer}inter.", f"{layer}output."),
    }


class CrossModalFusion(BertFusion):
    """LXMERT (arXiv 1908.07490): two encoders, cross-modality layers, a tanh pooler on token 0.

    Nothing reads the visual tokens behind the last layer, so its visual half gets no gradient, here
    as in LXMERT's own code. It is kept, because published checkpoints have it and :meth:`encode`
    computes it, but does not ask for gradients: distributed training waits for every parameter
    that does. Ask for them (`cross_layers[-1].visual.requires_grad_()`) to train on its output.
    """

    published_names: ClassVar[Names] = {
        **TEXT_EMBEDDING,
        **layer_names("language_layers.{}.", f"{BERT}encoder.layer.{{}}."),
        **layer_names("visual_layers.{}.", f"{BERT}encoder.r_layers.{{}}."),
        **attention_names(
            "cross_layers.{}.cross_attention.",
            f"{BERT}encoder.x_layers.{{}}.visual_attention.att.",
            f"{BERT}encoder.x_layers.{{}}.visual_attention.output.",
        ),
        **_side_of_cross_layer("language", "lang"),
        **_side_of_cross_layer("visual", "visn"),
        "pooler.": f"{BERT}pooler.dense.",
    }
    published_unused = TEXT_UNUSED

    def __init__(self, config: CrossModalConfig) -> None:
        super().__init__(config)
        self.embeddings = TextEmbedding(config)
        self.language_layers = transformer_layers(config, config.language_layers)
        self.visual_layers = transformer_layers(config, config.visual_layers)
        cross_layers = (CrossModalLayer(config) for _ in range(config.cross_layers))
        self.cross_layers = nn.ModuleList(cross_layers)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        init_bert_weights(self, config.initializer_range)
        self.cross_layers[-1].visual.requires_grad_(False)

    def encode(self, text: Text, visual: Visual) -> tuple[Tensor, Tensor]:
        """Both sides of the last layer: language (B, T, D), which `pool` takes, and (B, N, D)."""
        return self._run(self.cross_layers[-1], *self._before_last(text, visual))

    def pool(self, language: Tensor) -> Tensor:
        """(B, L, D) -> (B, D), from token 0."""
        return self.pooler(language[:, 0]).tanh()

    def attention_steps(self) -> list[list[AttentionRead]]:
        steps = [[(layer.attention, "text", "text")] for layer in self.language_layers]
        steps += [[(layer.attention, "visual", "visual")] for layer in self.visual_layers]
        for layer in self.cross_layers:
            across, words = layer.cross_attention, (layer.language.attention, "text", "text")
            if layer is self.cross_layers[-1]:  # of which the language side alone is read
                return [*steps, [(across, "text", "visual")], [words]]
            steps.append([(across, "text", "visual"), (across, "visual", "text")])
            steps.append([words, (layer.visual.attention, "visual", "visual")])
        return steps

    def _read(self, count: int, text: Text, visual: Visual) -> Tensor:
        states = self._before_last(text, visual)
        return self._run(self.cross_layers[-1].read_language, count, *states)

    def _before_last(
        self, text: Text, visual: Visual
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Both sides before the last cross-modality layer, and the biases of their padding."""
        language_bias = attention_bias(text.input_mask)
        visual_bias = None if visual.mask is None else attention_bias(visual.mask)
        language, seen = self.embeddings(text.input_ids, text.segment_ids), visual.tokens
        for layer in self.language_layers:
            language = self._run(layer, language, None, language_bias)
        for layer in self.visual_layers:
            seen = self._run(layer, seen, None, visual_bias)
        for layer in self.cross_layers[:-1]:
            language, seen = self._run(layer, language, seen, language_bias, visual_bias)
        return language, seen, language_bias, visual_bias
