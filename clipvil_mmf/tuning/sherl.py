"""SHERL (arXiv 2407.07523): early layers gathered under the guidance of a late one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion import Fusion
from clipvil_mmf.layers.published import Names
from clipvil_mmf.layers.transformer import attention_bias, init_bert_weights
from clipvil_mmf.tuning.method import Network
from clipvil_mmf.tuning.reducing import ReducingConfig, reduce_states
from clipvil_mmf.tuning.side import PUBLISHED_ENCODER, HiddenStates, SideNetwork

_TEMPERATURE = 0.1
_EPS = 1e-6


@dataclass
class SherlConfig(ReducingConfig):
    """`params` of the method `sherl`; the published reduction factor is 2."""


class Sherl(SideNetwork):
    """All states but the last make one, which goes through the backbone's frozen last layer.

    That layer is the one part of the backbone that the backward pass crosses.

    Raises:
        ConfigError: the fusion has fewer than two layers.
    """

    published_names: ClassVar[Names] = {
        "reductions.{}.": f"{PUBLISHED_ENCODER}side_block.hor_block.{{}}.",
        "score.": f"{PUBLISHED_ENCODER}side_block.guide_block.fc_attn.",
        "residual_gate": f"{PUBLISHED_ENCODER}side_block.gate_params",
        "out.": f"{PUBLISHED_ENCODER}side_block.fc_out.",
    }

    def __init__(self, config: SherlConfig, network: Network) -> None:
        super().__init__(config, network, "sherl")
        if self.depth < 2:
            raise ConfigError("method: sherl needs a fusion of two or more layers.")
        self.reductions = nn.ModuleList(
            GatedReduction(self.width, self.reduced_width) for _ in range(self.depth)
        )
        self.score = nn.Linear(self.reduced_width, 1)
        self.residual_gate = nn.Parameter(torch.zeros(1))
        self.out = nn.Linear(self.reduced_width, self.width)
        init_bert_weights(self, network.fusion.config.initializer_range)

    def read_states(
        self, states: HiddenStates, mask: Tensor, fusion: Fusion, count: int | None
    ) -> Tensor:
        """See :meth:`SideNetwork.read_states`."""
        recompute = self.config.recompute_states and not self.keeps_graph
        reduced = reduce_states(self.reductions, states, recompute)
        guide = reduced.pop()
        gathered = self._gather(torch.stack(reduced, dim=2), guide)
        share = torch.tanh(self.residual_gate / _TEMPERATURE)
        hidden = self.out(torch.relu(gathered)) + share * states.last
        return fusion.layers[-1](hidden[:, :count], hidden, attention_bias(mask))

    def _gather(self, shallow: Tensor, guide: Tensor) -> Tensor:
        """Token by token: (B, S, L-1, d) weighed and summed, with the guide (B, S, d) added."""
        # Published: norm + eps, not the larger of the two.
        directions = shallow / (shallow.norm(dim=-1, keepdim=True) + _EPS)
        likeness = torch.relu(directions @ directions.transpose(-1, -2))
        redundancy = likeness.sum(-1, keepdim=True).clamp_min(_EPS)  # 0 where a state is all zero
        scores = torch.relu(self.score(shallow * guide.unsqueeze(2))) / redundancy
        # Divided once summed: nearer to float64, and one tensor less to keep.
        return (scores * shallow).sum(2) / (scores.sum(2) + _EPS) + guide


class GatedReduction(nn.Module):
    """(B, S, wide) -> (B, S, narrow): a reduced state, and itself transformed, under a gate."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(wide, narrow)
        self.fc2 = nn.Linear(narrow, narrow)
        self.fc3 = nn.Linear(narrow, narrow)

    def forward(self, state: Tensor) -> Tensor:
        """Reduce one hidden state."""
        reduced = F.relu(self.fc1(state))
        return (self.fc2(reduced) + reduced) * torch.sigmoid(self.fc3(reduced))
