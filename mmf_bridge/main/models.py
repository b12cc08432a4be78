"""Models of main on transformers 5; what both lines need is in ``mmf_bridge.common.models``."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from mmf_bridge.common import bert
from mmf_bridge.common.replace import replace
from mmf_bridge.common.source import edited


def patch_hf_layers(module: ModuleType) -> None:
    """``replace_with_jit`` changes the BERT classes that MMF gets, not those of transformers.

    It gives layers of BERT and RoBERTa the forward passes of transformers 2.3, process-wide.
    Those of ``mmf_bridge.common.bert`` take them; other models of transformers stay as they are.
    """
    for name in set(module.patch_modules):
        stand_in = getattr(bert, name, None)
        if stand_in is None:  # of RoBERTa, which AutoModel builds from transformers' own layers
            methods = {"transpose_for_scores": bert.BertSelfAttention.transpose_for_scores}
            stand_in = type(name, (getattr(module, name),), methods)
        setattr(module, name, stand_in)


def patch_vit(module: ModuleType) -> None:
    """The layers of ViT as transformers 4 had them, under the parameter names of that time.

    Transformers 5 has others; MMF's ViT, which reads embeddings and masks, is made of those.
    """

    class SelfAttention(bert.BertSelfAttention):
        """That of BERT, as it was before ``replace_with_jit``."""

        forward = bert.BertSelfAttention.forward

    class ViTAttention(nn.Module):
        """Attention, and the layer behind it."""

        def __init__(self, config: Any) -> None:
            super().__init__()
            self.attention = SelfAttention(config)
            self.output = _Output(config.hidden_size, config)

        def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, ...]:
            attended, *rest = self.attention(hidden_states, **kwargs)
            return (self.output(attended), *rest)

    class ViTModel(bert.InitWeights, module.ViTModel):
        """MMF's, with the methods that it expects of transformers."""

        def __init__(self, config: Any) -> None:
            config.is_decoder = False  # asked for by the attention of BERT
            super().__init__(config)

        def get_head_mask(self, head_mask: Sequence[Any] | None, _layers: int) -> None:
            bert.refuse_masked_heads(head_mask)

        def get_extended_attention_mask(self, mask: torch.Tensor, *_: Any) -> torch.Tensor:
            """Returns what is added to the scores, ``(B, 1, 1, T)``, for a mask ``(B, T)``."""
            return (1.0 - mask[:, None, None].to(self.dtype)) * torch.finfo(self.dtype).min

    gone = {
        "BaseModelOutput": BaseModelOutput,
        "ViTIntermediate": bert.BertIntermediate,
        "ViTOutput": lambda config: _Output(config.intermediate_size, config),
    }
    module.vit = SimpleNamespace(**{**vars(module.vit), **gone})
    ViTModel.from_config = staticmethod(
        edited(
            module.ViTModel.from_config,
            {"hf_config.update(config)": "hf_config.update(OmegaConf.to_container(config))"},
        )
    )
    replace(module, ViTAttention, ViTModel)


class _Output(nn.Module):
    """A linear layer from ``width``, dropout, and the residual connection if there is one."""

    def __init__(self, width: int, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, hidden_states: torch.Tensor, residual: torch.Tensor | float = 0.0
    ) -> torch.Tensor:
        """Maps ``(B, T, width)`` to ``(B, T, D)``."""
        return self.dropout(self.dense(hidden_states)) + residual
