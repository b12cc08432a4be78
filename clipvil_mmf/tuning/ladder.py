"""Ladder side tuning (LST, arXiv 2206.06522): a narrow BERT beside the backbone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion.layers import TransformerLayer, attention_bias, init_bert_weights
from clipvil_mmf.tuning.backbone import Network
from clipvil_mmf.tuning.side import SideConfig, SideNetwork

if TYPE_CHECKING:
    from clipvil_mmf.fusion.joint import JointFusion

_TEMPERATURE = 0.1


@dataclass
class LadderConfig(SideConfig):
    """`params` of the method `ladder`."""

    # Published for CLIP-ViL.
    reduction_factor: int = 4


class Ladder(SideNetwork):
    """Beside each layer a narrow one, fed by a gated sum of the one before and of the backbone.

    After the last layer only the tokens that are wanted are computed.

    Args:
        config: the method's `params`.
        network: the backbone.
    """

    def __init__(self, config: LadderConfig, network: Network) -> None:
        super().__init__(config, network, "ladder")
        wide, narrow, fusion = self.width, self.reduced_width, network.fusion.config
        factor = config.reduction_factor
        if narrow % fusion.num_attention_heads or fusion.intermediate_size % factor:
            raise ConfigError(
                f"reduction_factor: {factor} leaves a width of {narrow}, which "
                f"the {fusion.num_attention_heads} attention heads do not divide, or does not "
                f"divide the intermediate_size {fusion.intermediate_size}."
            )
        self.first = nn.Linear(wide, narrow, bias=False)
        self.downs = nn.ModuleList(nn.Linear(wide, narrow, bias=False) for _ in range(self.depth))
        self.blocks = nn.ModuleList(
            TransformerLayer(
                narrow,
                fusion.num_attention_heads,
                fusion.intermediate_size // factor,
                attention_dropout=fusion.attention_probs_dropout_prob,
                hidden_dropout=fusion.hidden_dropout_prob,
            )
            for _ in range(self.depth)
        )
        self.gates = nn.ParameterList(torch.zeros(1) for _ in range(self.depth))
        self.up = nn.Linear(narrow, wide, bias=False)
        init_bert_weights(self, fusion.initializer_range)

    def read(
        self, states: Iterator[Tensor], mask: Tensor, fusion: JointFusion, count: int | None
    ) -> Tensor:
        """See :meth:`SideNetwork.read`."""
        bias = attention_bias(mask)
        side = self.first(next(states))
        for index, state in enumerate(states):
            share = torch.sigmoid(self.gates[index] / _TEMPERATURE)
            side = share * side + (1 - share) * self.downs[index](state)
            wanted = count if index == self.depth - 1 else None
            side = self.blocks[index](side[:, :wanted], side, bias)
        return self.up(side)
