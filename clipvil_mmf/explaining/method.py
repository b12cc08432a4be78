"""What a method of maps gets: one forward pass, with what its attention layers computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class ExplainError(ValueError):
    """A map that cannot be made of this model; the message says which can."""


@dataclass(frozen=True)
class Attended:
    """What one call of an attention layer computed, for the P passes of a question.

    `queries` and `keys` are rows of all tokens, text first, then visual.
    """

    queries: slice
    keys: slice
    query: Tensor  # (P, H, L, D/H)
    key: Tensor  # (P, H, S, D/H)
    value: Tensor  # (P, H, S, D/H)
    bias: Tensor | None  # added to the scores
    output: Tensor  # (P, L, D), before the output projection; the graph of the score goes through

    def probabilities(self) -> Tensor:
        """(P, H, L, S) float32, rows sum up to 1; torch's fused kernel keeps none."""
        query, key = self.query.detach().float(), self.key.detach().float()
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        return torch.softmax(scores if self.bias is None else scores + self.bias, dim=-1)

    def probability_gradient(self, output_gradient: Tensor) -> Tensor:
        """(P, H, L, S): d score/d probabilities, of d score/d output (P, L, D).

        The output is the probabilities times the values, so that no graph has to hold the
        probabilities.
        """
        gradient = output_gradient.float().unflatten(-1, (self.value.shape[1], -1))
        return gradient.transpose(1, 2) @ self.value.detach().float().transpose(-1, -2)


@dataclass(frozen=True)
class ForwardPass:
    """A question's forward pass, whose score can be differentiated.

    P is how often the network reads the text, 1 but for tasks with several images.
    """

    text_length: int  # T, without padding
    grid: Tensor  # (P, C, h, w), what the image encoder gave: a leaf
    visual_length: int  # N, h * w cells row by row
    score: Tensor  # (), before the sigmoid or softmax
    # Calls in their order; those of a step read the same states. Empty where they are unknown.
    steps: Sequence[Sequence[Attended]]
    unreadable: str = ""  # why there are no steps
    # (P, T+N, D) each: the hidden states that a side network reads, the embeddings and what the
    # steps give in turn. Empty where the answer is read of token 0 behind the last step.
    read: Sequence[Tensor] = ()

    @property
    def attention(self) -> Sequence[Sequence[Attended]]:
        """The steps; raises :class:`ExplainError` where there are none."""
        if not self.steps:
            raise ExplainError(f"{self.unreadable}; grad_cam needs no attention")
        return self.steps

    def gradients(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """D score/d each tensor, in its shape; zeros where the score does not depend on one."""
        needed = [tensor for tensor in tensors if tensor.requires_grad]
        found: tuple[Tensor | None, ...] = (None,)
        if self.score.requires_grad and len(needed) == len(tensors):
            found = torch.autograd.grad(self.score, needed, retain_graph=True, allow_unused=True)
        if all(gradient is None for gradient in found):
            raise ExplainError(
                "no gradient of the score reaches the image: the network computes a part under "
                "no_grad. Only rollout needs no gradient"
            )
        pairs = zip(found, tensors, strict=True)
        return [torch.zeros_like(t) if gradient is None else gradient for gradient, t in pairs]
