"""Ladder side tuning (LST, arXiv 2206.06522): a narrow BERT beside the backbone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import torch
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError, check_at_least, check_choice
from clipvil_mmf.fusion import Fusion, Text, Visual
from clipvil_mmf.layers.dropout import Dropout
from clipvil_mmf.layers.dtypes import at_least_float32
from clipvil_mmf.layers.published import Names, layer_names
from clipvil_mmf.layers.tokens import joint_mask
from clipvil_mmf.layers.transformer import (
    LAYER_NORM_EPS,
    TransformerLayer,
    attention_bias,
    init_bert_weights,
)
from clipvil_mmf.tuning.fisher import Sample, fisher_information
from clipvil_mmf.tuning.method import Network
from clipvil_mmf.tuning.side import (
    PUBLISHED_ENCODER,
    SIDE_NAMES,
    SideConfig,
    SideNetwork,
)

_TEMPERATURE = 0.1
INITIALIZATIONS = ("random", "magnitude", "fisher")

# A weight of the backbone -> how important each of its values is, in its shape.
Importance = Callable[[nn.Parameter], Tensor]


@dataclass
class LadderConfig(SideConfig):
    """`params` of the method `ladder`."""

    # The side network's width is the fusion's divided by this; 4 is published for CLIP-ViL.
    reduction_factor: int = 4
    # random (as published), or each narrow layer begins with the most important rows of the
    # backbone's layer, head by head: those whose weights are the largest (magnitude), or matter
    # most to the answers of the train split (fisher, LST's own choice).
    initialization: str = "random"
    # The fusion's layers, counted from 0, that the ladder has a narrow one beside; null for all.
    layers: list[int] | None = None
    # The ladder's first matrix reads visual tokens of a projection of its own, which is trainable.
    visual_projection: bool = False
    # Of fisher: how many questions of the train split are read before the first update.
    fisher_samples: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("initialization", self.initialization, INITIALIZATIONS)
        check_at_least("fisher_samples", self.fisher_samples, 1)
        if self.layers is not None and (not self.layers or sorted({*self.layers}) != self.layers):
            raise ConfigError(
                f"layers: got {self.layers}, expected numbers of layers in ascending order."
            )


class Ladder(SideNetwork):
    """Beside each layer a narrow one, fed by a gated sum of the one before and of the backbone.

    Or beside some layers alone; those after the last of them are not computed. In the last narrow
    one only the tokens that are wanted are.

    Raises:
        ConfigError: the fusion lacks one of `layers`, its widths cannot be divided, or there is no
            projection of which `visual_projection` could be another.
    """

    published_names: ClassVar[Names] = {
        **SIDE_NAMES,
        **layer_names("blocks.{}.", f"{PUBLISHED_ENCODER}side_block_l.{{}}."),
        "gates.{}": f"{PUBLISHED_ENCODER}side_gate_params_l.{{}}",
        "up.": f"{PUBLISHED_ENCODER}side_final_upsample_l.",
        "visual.projection.": f"{PUBLISHED_ENCODER}side_visn_fc.visn_fc.",
        "visual.norm.": f"{PUBLISHED_ENCODER}side_visn_fc.visn_layer_norm.",
    }

    published_unused: ClassVar[Names] = {
        f"{PUBLISHED_ENCODER}side_visn_fc.box_fc.": "boxes: a grid has none",
        f"{PUBLISHED_ENCODER}side_visn_fc.box_layer_norm.": "boxes: a grid has none",
    }

    def __init__(self, config: LadderConfig, network: Network) -> None:
        super().__init__(config, network, "ladder")
        wide, narrow, fusion = self.width, self.reduced_width, network.fusion.config
        factor, heads = config.reduction_factor, fusion.num_attention_heads
        if narrow % heads or fusion.intermediate_size % factor:
            raise ConfigError(
                f"reduction_factor: {factor} leaves a width of {narrow}, which the {heads} "
                "attention heads do not divide, or does not divide the intermediate_size "
                f"{fusion.intermediate_size}."
            )
        layers = range(self.depth) if config.layers is None else config.layers
        if layers[0] < 0 or layers[-1] >= self.depth:
            raise ConfigError(
                f"layers: got {config.layers}, but the fusion has layers 0 to {self.depth - 1}."
            )
        self.first = nn.Linear(wide, narrow, bias=False)
        # By the number of the layer; None where there is nothing beside it.
        self.downs = nn.ModuleList(
            nn.Linear(wide, narrow, bias=False) if index in layers else None
            for index in range(self.depth)
        )
        self.blocks = nn.ModuleList(
            TransformerLayer(
                *(narrow, heads, fusion.intermediate_size // factor),
                attention_dropout=fusion.attention_probs_dropout_prob,
                hidden_dropout=fusion.hidden_dropout_prob,
            )
            if index in layers
            else None
            for index in range(self.depth)
        )
        self.gates = nn.ParameterDict({str(i): torch.zeros(1) for i in layers})
        self.up = nn.Linear(narrow, wide, bias=False)
        self.visual = SideProjection(network) if config.visual_projection else None
        init_bert_weights(self, fusion.initializer_range)

    def start_from(self, network: Network) -> None:
        """Prune the backbone's layers into the narrow ones, or ask for samples to do so by."""
        if self.config.initialization == "fisher":
            self.samples_wanted = self.config.fisher_samples
        elif self.config.initialization == "magnitude":
            self._begin_with(network, torch.abs)

    def start_from_samples(self, network: Network, samples: Iterator[Sample]) -> None:
        """Prune the backbone's layers by the Fisher information of their weights."""
        modules = network.fusion.layers.modules()
        weights = [module.weight for module in modules if isinstance(module, nn.Linear)]
        weights = [network.fusion.embeddings.word.weight, *weights]
        fisher = fisher_information(network, weights, samples, self.samples_wanted)
        self._begin_with(network, fisher.__getitem__)

    @torch.no_grad()
    def _begin_with(self, network: Network, importance: Importance) -> None:
        """Fill the narrow layers with the most important part of the backbone's.

        The first layer reads the channels that are the most important in the word embeddings, each
        following one those that the layer before has kept.
        """
        words = importance(network.fusion.embeddings.word.weight)
        kept = _strongest(words.sum(0), self.reduced_width)
        spare = copy.deepcopy(next(block for block in self.blocks if block is not None))
        for narrow, wide in zip(self.blocks, network.fusion.layers, strict=True):
            kept = _prune(wide, spare if narrow is None else narrow, kept, importance)
        if self.visual is not None:
            self.visual.start_from(network)

    def joint(self, fusion: Fusion, text: Text, visual: Visual, count: int | None = None) -> Tensor:
        """See :meth:`SideNetwork.joint`."""
        if self.visual is None:
            return super().joint(fusion, text, visual, count)
        states = self.hidden_states(fusion, text, visual)
        words = next(states)[:, : text.input_ids.shape[1]]
        first = self.noted(0, torch.cat([words, self.visual(visual.features)], dim=1))
        return self.read_states(chain([first], states), joint_mask(text, visual), fusion, count)

    def read_states(
        self, states: Iterator[Tensor], mask: Tensor, fusion: Fusion, count: int | None
    ) -> Tensor:
        """See :meth:`SideNetwork.read_states`."""
        bias = attention_bias(mask)
        side = self.first(next(states))
        last = max(index for index, block in enumerate(self.blocks) if block is not None)
        for index, state in zip(range(last + 1), states, strict=False):
            if self.blocks[index] is None:
                continue
            share = torch.sigmoid(self.gates[str(index)] / _TEMPERATURE)
            side = share * side + (1 - share) * self.downs[index](state)
            wanted = count if index == last else None
            side = self.blocks[index](side[:, :wanted], side, bias)
        return self.up(side)


class SideProjection(nn.Module):
    """The visual tokens of a ladder: as the backbone's, by another projection of the features.

    Raises:
        ConfigError: the network's visual tokens are not projected from a grid.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        embedding = network.visual_embedding
        if not hasattr(embedding, "gives_features"):
            raise ConfigError("visual_projection: the ladder's own is made for grid features.")
        if getattr(embedding, "is_projected", False):
            raise ConfigError(
                "visual_projection: the ladder's own needs the features, but these files hold "
                "projected ones: extract them with --content raw."
            )
        embedding.gives_features = True
        self.projection = nn.Linear(embedding.projection.in_features, network.fusion.hidden_size)
        self.norm = nn.LayerNorm(network.fusion.hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(embedding.dropout.p)

    def start_from(self, network: Network) -> None:
        """Begin as the backbone's."""
        for name in ("projection", "norm"):
            state = getattr(network.visual_embedding, name).state_dict()
            getattr(self, name).load_state_dict(state)

    def forward(self, features: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, D)."""
        return self.dropout(self.norm(self.projection(at_least_float32(features))))


def _strongest(strength: Tensor, count: int) -> Tensor:
    """Where the `count` largest of (N,) are, in their order: (count,) int64."""
    return strength.topk(count).indices.sort().values


def _prune(
    wide: TransformerLayer, narrow: TransformerLayer, channels: Tensor, importance: Importance
) -> Tensor:
    """Fill a narrow layer from a wide one of the backbone, of whose input it reads some `channels`.

    Returns:
        Which channels of the wide layer's output the narrow one gives, (narrow,) int64.
    """
    theirs, ours = wide.attention, narrow.attention
    projections = ("query", "key", "value")
    weights = (importance(getattr(theirs, name).weight)[:, channels] for name in projections)
    strength = sum(weight.sum(1) for weight in weights).unflatten(0, (theirs.num_heads, -1))
    size = ours.query.out_features // theirs.num_heads
    rows = [_strongest(head, size) + i * strength.shape[1] for i, head in enumerate(strength)]
    rows = torch.cat(rows)
    for name in projections:
        _copy(getattr(theirs, name), getattr(ours, name), rows, channels)
    channels = _copy_strongest(theirs.output, ours.output, rows, importance)
    _copy(theirs.LayerNorm, ours.LayerNorm, channels)
    theirs, ours = wide.feed_forward, narrow.feed_forward
    inner = _copy_strongest(theirs.intermediate, ours.intermediate, channels, importance)
    channels = _copy_strongest(theirs.output, ours.output, inner, importance)
    _copy(theirs.LayerNorm, ours.LayerNorm, channels)
    return channels


def _copy_strongest(
    theirs: nn.Linear, ours: nn.Linear, columns: Tensor, importance: Importance
) -> Tensor:
    """Copy the rows that are the most important in some columns, and say which."""
    rows = _strongest(importance(theirs.weight)[:, columns].sum(1), ours.out_features)
    _copy(theirs, ours, rows, columns)
    return rows


def _copy(theirs: nn.Module, ours: nn.Module, rows: Tensor, columns: Tensor | None = None) -> None:
    weight = theirs.weight[rows]
    ours.weight.copy_(weight if columns is None else weight[:, columns])
    ours.bias.copy_(theirs.bias[rows])
