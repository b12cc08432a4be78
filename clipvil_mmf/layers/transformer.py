"""Attention and feed-forward, once: every encoder of the package is built from these.

The layers are BERT's (arXiv 1810.04805): residual first, LayerNorm after. Parameters that BERT
calls LayerNorm keep that name, because published optimizers choose weight decay by it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.layers.dropout import Dropout, drop

LAYER_NORM_EPS = 1e-12

# Bytes of an attention's scores that are computed together on CPU, which stay in its cache.
_SCORE_BYTES = 2**22

# Published models add this to masked scores. It is finite, so a wholly masked row stays finite.
MASKED_SCORE = -10000.0


def init_bert_weights(module: nn.Module, std: float = 0.02) -> None:
    """Initialise as BERT does: normal(0, std) matrices, zero biases, unit LayerNorms.

    Embedding rows at `padding_idx` are drawn like the others (as in the published models) and,
    since they get no gradient, stay where they are.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def attention_bias(mask: Tensor) -> Tensor | None:
    """A padding mask (B, S), 0 for padding -> what is added to scores: (B, 1, 1, S) float32.

    None when nothing is masked. That is only looked for on CPU: on an accelerator the look would
    stall the queue for longer than the mask costs, and a compiled graph cannot depend on it.
    """
    looks = mask.device.type == "cpu" and not torch.compiler.is_compiling()
    if looks and bool(mask.all()):
        return None
    return (mask[:, None, None, :] == 0) * MASKED_SCORE


class Attention(nn.Module):
    """Multi-head attention with its output projection, residual and LayerNorm.

    Args:
        hidden_size: D, the width of the queries and of the output.
        num_heads: H, which divides D.
        context_size: width of what is attended to; None for D.
        attention_dropout: probability on the attention weights.
        hidden_dropout: probability on the output, before the residual is added.

    Raises:
        ValueError: `num_heads` does not divide `hidden_size`.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        context_size: int | None = None,
        attention_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"{num_heads} attention heads do not divide a width of {hidden_size}.")
        context_size = hidden_size if context_size is None else context_size
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(context_size, hidden_size)
        self.value = nn.Linear(context_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(hidden_dropout)

    def forward(
        self, hidden: Tensor, context: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Attend from `hidden` to `context`.

        Args:
            hidden: (B, L, D).
            context: (B, S, context_size); None for self-attention.
            bias: added to the scores, broadcastable to (B, H, L, S), see :func:`attention_bias`.

        Returns:
            (B, L, D).
        """
        context = hidden if context is None else context
        query = self._split_heads(self.query(hidden))
        key, value = self._split_heads(self.key(context)), self._split_heads(self.value(context))
        attended = self._attend(query, key, value, None if bias is None else bias.to(query.dtype))
        attended = self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        return self.LayerNorm(hidden + attended)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """(B, H, L, D/H), and (B, H, S, D/H) twice -> (B, H, L, D/H)."""
        p = self.attention_dropout if self.training else 0.0
        # torch's fused kernel for CPU has no dropout (it would do the steps below, with its own),
        # and takes twice as long as they do in bf16.
        by_hand = query.device.type == "cpu" and (p > 0 or query.dtype == torch.bfloat16)
        if not by_hand:
            return F.scaled_dot_product_attention(query, key, value, bias, dropout_p=p)
        # Taken together, all scores of a batch would go through memory at each step.
        count = len(query)
        size = query.shape[:-1].numel() * key.shape[-2] * query.dtype.itemsize
        at_once = max(1, _SCORE_BYTES * count // size)
        if torch.compiler.is_compiling() or at_once >= count:
            return self._attend_by_hand(query, key, value, bias, p)
        parts = [tensor.split(at_once) for tensor in (query, key, value)]
        if bias is None:
            biases = [None] * len(parts[0])
        else:
            biases = bias.expand(count, -1, -1, -1).split(at_once)
        return torch.cat(
            [self._attend_by_hand(*part, p) for part in zip(*parts, biases, strict=True)]
        )

    @staticmethod
    def _attend_by_hand(
        query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, p: float
    ) -> Tensor:
        batch, heads, length, width = query.shape
        # Within the product scale and bias cost nothing; beta 0 leaves its first argument unread.
        if bias is None:
            added, beta = query.new_zeros(()), 0
        else:
            added, beta = bias.expand(batch, heads, -1, -1).flatten(0, 1), 1
        query, key, value = (part.flatten(0, 1) for part in (query, key, value))
        scores = torch.baddbmm(added, query, key.mT, beta=beta, alpha=width**-0.5)
        attended = torch.bmm(drop(torch.softmax(scores, dim=-1), p), value)
        return attended.view(batch, heads, length, width)

    def _split_heads(self, projected: Tensor) -> Tensor:
        """(B, L, D) -> (B, H, L, D/H)."""
        return projected.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, erf GELU, Linear, dropout, residual, LayerNorm."""

    def __init__(self, hidden_size: int, intermediate_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.intermediate = nn.Linear(hidden_size, intermediate_size)
        self.output = nn.Linear(intermediate_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        wide = self.intermediate(hidden)
        # In place it takes a third of the time on CPU: no other memory is brought into its caches.
        wide = F.gelu(wide) if torch.is_grad_enabled() else torch.ops.aten.gelu_(wide)
        return self.LayerNorm(hidden + self.dropout(self.output(wide)))


class TransformerLayer(nn.Module):
    """One BERT layer: :class:`Attention`, then :class:`FeedForward`."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        attention_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        dropouts = {"attention_dropout": attention_dropout, "hidden_dropout": hidden_dropout}
        self.attention = Attention(hidden_size, num_heads, **dropouts)
        self.feed_forward = FeedForward(hidden_size, intermediate_size, hidden_dropout)

    def forward(
        self, hidden: Tensor, context: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """(B, L, D) -> (B, L, D); `context` and `bias` as in :meth:`Attention.forward`."""
        return self.feed_forward(self.attention(hidden, context, bias))
