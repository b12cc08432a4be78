"""What side networks share: a frozen backbone that runs without a graph, read as it goes along."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clipvil_mmf.config import check_at_least
from clipvil_mmf.dtypes import at_least_float32
from clipvil_mmf.tuning.backbone import BackboneConfig, Network, in_evaluation, precision
from clipvil_mmf.tuning.method import TuningMethod, joint_fusion, reduced_width
from clipvil_mmf.tuning.states import HiddenStates

if TYPE_CHECKING:
    from clipvil_mmf.fusion.joint import JointFusion
    from clipvil_mmf.vision import Regions


@dataclass
class SideConfig(BackboneConfig):
    """What the `params` of all side networks have."""

    # The side network's width is the fusion's divided by this.
    reduction_factor: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("reduction_factor", self.reduction_factor, 1)


class SideNetwork(TuningMethod):
    """A small network beside the backbone; it and the answer head learn.

    Args:
        config: the method's `params`.
        network: the backbone.
        name: of the method, for errors.

    Raises:
        ConfigError: the fusion is not the joint one, or `reduction_factor` does not divide its
            width.
    """

    def __init__(self, config: SideConfig, network: Network, name: str) -> None:
        super().__init__(config, network)
        fusion = joint_fusion(network, name)
        self.depth = len(fusion.layers)
        self.width = fusion.hidden_size
        self.reduced_width = reduced_width(fusion, config.reduction_factor)

    @abstractmethod
    def read(
        self, states: HiddenStates, mask: Tensor, fusion: JointFusion, count: int | None
    ) -> Tensor:
        """What the side network makes of the hidden states.

        Args:
            states: the embeddings and then each layer's output, (B, S, D) each, without a graph;
                a layer runs when its output is asked for.
            mask: (B, S), 1 for tokens, 0 for padding.
            fusion: the backbone's.
            count: how many tokens' outputs are wanted, from token 0 on; None for all.

        Returns:
            (B, count, D).
        """

    def joint(
        self,
        network: Network,
        images: Tensor | Regions,
        image_index: Tensor,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
        count: int | None = None,
    ) -> Tensor:
        """What stands in the place of the last hidden state: (B, count, D), text first.

        Arguments are those of the network's forward; `count` as for :meth:`read`.
        """
        fusion = network.fusion
        with torch.no_grad(), precision(self.config, input_ids.device):
            visual = network.tokens_of_questions(images, image_index)
        inputs = (input_ids, input_mask, segment_ids, *visual)
        states = HiddenStates(lambda: self._states(fusion, *inputs), input_ids.device)
        mask = fusion.joint_mask(input_mask, *visual)
        return self.read(states, mask, fusion, count)

    def _states(self, fusion: JointFusion, *inputs: Any) -> Iterator[Tensor]:
        """The backbone's hidden states, computed without a graph one by one, not in half."""
        states = fusion.hidden_states(*inputs)
        while True:
            # Not around the `yield`: what the side network does with a state needs its graph.
            with torch.no_grad(), precision(self.config, inputs[0].device):
                state = next(states, None)
            if state is None:
                return
            yield at_least_float32(state)

    def forward(self, network: Network, *batch: Any) -> Tensor:
        """The pooled output (B, D), through the frozen pooler."""
        return network.fusion.pool(self.joint(network, *batch, count=1))

    def set_modes(self, network: Network) -> None:
        """Without dropout in the backbone, if the configuration says so."""
        in_evaluation(network, self.config)
