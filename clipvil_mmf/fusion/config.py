"""What every fusion's `params` have: widths, vocabulary, dropout, initialisation."""

from __future__ import annotations

from dataclasses import dataclass

from clipvil_mmf.config import ConfigError, check_at_least, check_probability

# Of a kind; more are a mistake, and would be built for hours.
MOST_LAYERS = 1000


@dataclass
class FusionConfig:
    """The `params` that all fusions share; the defaults are BERT-base's, as published."""

    # D, the width of every token.
    hidden_size: int = 768
    # Attention heads; they divide hidden_size.
    num_attention_heads: int = 12
    # Width inside the feed-forward.
    intermediate_size: int = 3072
    # Word pieces of the tokenizer's vocabulary.
    vocab_size: int = 30522
    # The longest question in word pieces, [CLS] and [SEP] included.
    max_position_embeddings: int = 512
    # Segments that a question may have.
    type_vocab_size: int = 2
    # Dropout on embeddings and on the output of every attention and feed-forward.
    hidden_dropout_prob: float = 0.1
    # Dropout on attention weights.
    attention_probs_dropout_prob: float = 0.1
    # Standard deviation of the initial weights, of the visual embedding's as well.
    initializer_range: float = 0.02
    # Keep only each layer's input for the backward pass and compute the layer again there: about
    # a third more time for much less memory. Outputs and gradients stay the same.
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        for key in ("hidden_size", "num_attention_heads", "intermediate_size", "vocab_size"):
            check_at_least(key, getattr(self, key), 1)
        for key in ("max_position_embeddings", "type_vocab_size"):
            check_at_least(key, getattr(self, key), 1)
        check_at_least("initializer_range", self.initializer_range, 0.0)
        for key in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            check_probability(key, getattr(self, key))
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"num_attention_heads: {self.num_attention_heads} does not divide "
                f"hidden_size {self.hidden_size}."
            )
