"""Ladder side tuning (LST, arXiv 2206.06522): a narrow BERT beside the backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError, check_choice
from clipvil_mmf.fusion.layers import TransformerLayer, attention_bias, init_bert_weights
from clipvil_mmf.tuning.backbone import Network
from clipvil_mmf.tuning.side import SideConfig, SideNetwork
from clipvil_mmf.tuning.states import HiddenStates

if TYPE_CHECKING:
    from clipvil_mmf.fusion.joint import JointFusion

_TEMPERATURE = 0.1
INITIALIZATIONS = ("random", "magnitude")


@dataclass
class LadderConfig(SideConfig):
    """`params` of the method `ladder`."""

    # Published for CLIP-ViL.
    reduction_factor: int = 4
    # random (as in the published recipes), or magnitude: each narrow layer begins with the rows of
    # the backbone's layer whose weights are the largest, head by head.
    initialization: str = "random"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("initialization", self.initialization, INITIALIZATIONS)


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

    @torch.no_grad()
    def start_from(self, network: Network) -> None:
        """Prune the backbone's layers into the narrow ones, if `initialization` says so.

        LST measures importance by Fisher information, or by magnitude where there are no data; this
        is the latter. The first layer reads the channels that are the largest in the word
        embeddings, each following one those that the layer before has kept.
        """
        if self.config.initialization == "random":
            return
        words = network.fusion.embeddings.word.weight
        kept = _strongest(words.abs().sum(0), self.reduced_width)
        for narrow, wide in zip(self.blocks, network.fusion.layers, strict=True):
            kept = _prune(wide, narrow, kept)

    def read(
        self, states: HiddenStates, mask: Tensor, fusion: JointFusion, count: int | None
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


def _strongest(strength: Tensor, count: int) -> Tensor:
    """Where the `count` largest of (N,) are, in their order: (count,) int64."""
    return strength.topk(count).indices.sort().values


def _prune(wide: TransformerLayer, narrow: TransformerLayer, channels: Tensor) -> Tensor:
    """Fill a narrow layer from a wide one.

    Args:
        wide: of the backbone.
        narrow: of the ladder.
        channels: (narrow,) int64, of the wide layer's input.

    Returns:
        Which channels of the wide layer's output the narrow one gives, (narrow,) int64.
    """
    theirs, ours = wide.attention, narrow.attention
    heads = theirs.num_heads
    projections = ("query", "key", "value")
    strength = sum(
        getattr(theirs, name).weight[:, channels].abs().sum(1) for name in projections
    ).unflatten(0, (heads, -1))
    size = ours.query.out_features // heads
    rows = torch.cat(
        [_strongest(head, size) + i * strength.shape[1] for i, head in enumerate(strength)]
    )
    for name in projections:
        _copy(getattr(theirs, name), getattr(ours, name), rows, channels)
    channels = _copy_strongest(theirs.output, ours.output, rows)
    _copy(theirs.LayerNorm, ours.LayerNorm, channels)
    theirs, ours = wide.feed_forward, narrow.feed_forward
    inner = _copy_strongest(theirs.intermediate, ours.intermediate, channels)
    channels = _copy_strongest(theirs.output, ours.output, inner)
    _copy(theirs.LayerNorm, ours.LayerNorm, channels)
    return channels


def _copy_strongest(theirs: nn.Linear, ours: nn.Linear, columns: Tensor) -> Tensor:
    """Copy the rows that are the largest in some columns, and say which."""
    rows = _strongest(theirs.weight[:, columns].abs().sum(1), ours.out_features)
    _copy(theirs, ours, rows, columns)
    return rows


def _copy(
    theirs: nn.Linear | nn.LayerNorm,
    ours: nn.Linear | nn.LayerNorm,
    rows: Tensor,
    columns: Tensor | None = None,
) -> None:
    weight = theirs.weight[rows]
    ours.weight.copy_(weight if columns is None else weight[:, columns])
    ours.bias.copy_(theirs.bias[rows])
