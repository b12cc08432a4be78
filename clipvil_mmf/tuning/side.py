"""What side networks share: a frozen backbone under `no_grad`, read as it goes along."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from clipvil_mmf.config import check_at_least
from clipvil_mmf.fusion import Fusion, Text, Visual
from clipvil_mmf.layers.dtypes import at_least_float32
from clipvil_mmf.layers.published import BERT, Names
from clipvil_mmf.layers.tokens import joint_mask
from clipvil_mmf.tuning.frozen import Frozen, FrozenConfig
from clipvil_mmf.tuning.method import Network, layered_fusion, reduced_width

PUBLISHED_ENCODER = f"{BERT}encoder."
# Of the reductions that UniPT and LST share.
SIDE_NAMES: Names = {
    "first.": f"{PUBLISHED_ENCODER}side_first_downsample_l.",
    "downs.{}.": f"{PUBLISHED_ENCODER}side_downsamples_l.{{}}.",
}


@dataclass
class SideConfig(FrozenConfig):
    """What the `params` of all side networks have."""

    # The side network's width is the fusion's divided by this.
    reduction_factor: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("reduction_factor", self.reduction_factor, 1)


class HiddenStates(Iterator[Tensor]):
    """The hidden states of a frozen backbone, one by one, which can be recomputed.

    Args:
        start: begins a pass: the embeddings and then each layer's output, under `no_grad`.
        device: where it runs.

    Attributes:
        last: the state that was given last.
    """

    def __init__(self, start: Callable[[], Iterator[Tensor]], device: torch.device) -> None:
        self._start, self._device = start, device
        self._pass: Iterator[Tensor] | None = None
        self.last: Tensor | None = None

    def __next__(self) -> Tensor:
        if self._pass is None:
            self._pass = self._start()
        self.last = None  # one is held, not two
        self.last = next(self._pass)
        return self.last

    def from_start(self) -> HiddenStates:
        """The same states from the first on, computed anew."""
        return HiddenStates(self._start, self._device)

    def random_state(self) -> list[Tensor]:
        """What dropout draws from, which :meth:`repeated` takes."""
        cuda = [torch.cuda.get_rng_state(self._device)] if self._device.type == "cuda" else []
        return [torch.get_rng_state(), *cuda]

    @contextmanager
    def repeated(self, random_state: Sequence[Tensor]) -> Iterator[Iterator[Tensor]]:
        """The same states from the first on, with the dropout that they had."""
        cpu, *cuda = random_state
        with torch.random.fork_rng([self._device] if cuda else []):
            torch.set_rng_state(cpu)
            if cuda:
                torch.cuda.set_rng_state(cuda[0], self._device)
            yield self._start()


class SideNetwork(Frozen):
    """A small network beside the backbone, `name` in errors; it and the answer head are trainable.

    Attributes:
        read_tensors: while a map of where a model looked is made, the hidden states that are read,
            by their number, each a tensor of its own in the graph: its gradient is that of the
            reading alone, not of the layers behind; else None.

    Raises:
        ConfigError: the fusion gives no hidden states, or `reduction_factor` does not divide its
            width.
    """

    read_tensors: dict[int, Tensor] | None = None

    def __init__(self, config: SideConfig, network: Network, name: str) -> None:
        super().__init__(config, network)
        fusion = layered_fusion(network, name)
        self.depth = len(fusion.layers)
        self.width = fusion.hidden_size
        self.reduced_width = reduced_width(fusion, config.reduction_factor)

    @abstractmethod
    def read_states(
        self, states: HiddenStates, mask: Tensor, fusion: Fusion, count: int | None
    ) -> Tensor:
        """What the side network makes of the hidden states: (B, count, D).

        Args:
            states: the embeddings and then each layer's output, (B, S, D) each, under `no_grad`;
                a layer runs when its output is asked for.
            mask: (B, S), 1 for tokens, 0 for padding.
            fusion: the backbone's.
            count: how many tokens' outputs are wanted, from token 0 on; None for all.
        """

    def read(self, fusion: Fusion, text: Text, visual: Visual) -> Tensor:
        """The pooled output (B, D), through the frozen pooler."""
        return fusion.pool(self.joint(fusion, text, visual, count=1))

    def joint(self, fusion: Fusion, text: Text, visual: Visual, count: int | None = None) -> Tensor:
        """What stands in the place of the last hidden state: (B, count, D), text first."""
        states = self.hidden_states(fusion, text, visual)
        return self.read_states(states, joint_mask(text, visual), fusion, count)

    def hidden_states(self, fusion: Fusion, text: Text, visual: Visual) -> HiddenStates:
        """The embeddings and then each layer's output."""
        return HiddenStates(lambda: self._states(fusion, text, visual), visual.tokens.device)

    def _states(self, fusion: Fusion, text: Text, visual: Visual) -> Iterator[Tensor]:
        """The backbone's hidden states, computed under `no_grad` one by one, not in half."""
        states = fusion.hidden_states(text, visual)
        for number in itertools.count():
            # Not around the `yield`: what the side network does with a state needs its graph.
            with (
                torch.set_grad_enabled(self.keeps_graph),
                self.backbone_precision(visual.tokens.device),
            ):
                state = next(states, None)
            if state is None:
                return
            yield self.noted(number, at_least_float32(state))

    def noted(self, number: int, state: Tensor) -> Tensor:
        """A hidden state as it is read; see `read_tensors`."""
        if self.read_tensors is None:
            return state
        self.read_tensors[number] = state.clone()
        return self.read_tensors[number]
