"""What every tuning method is: which parameters are trainable, and how the fusion is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion import Fusion, Text, Visual
from clipvil_mmf.layers.published import Names

# The parts of a network, as their parameters' names begin.
HEAD = "classifier."
TOWER = "image_encoder."
VISUAL_PROJECTION = ("visual_embedding.projection.", "visual_embedding.norm.")
# What the method itself holds.
_OWN = "tuning."


class Network(Protocol):
    """A network as a tuning method sees it: :class:`clipvil_mmf.network.ClipVilNetwork`."""

    image_encoder: nn.Module
    visual_embedding: nn.Module
    fusion: Fusion
    classifier: nn.Module

    def encode_visual(self, images: Any) -> Visual:
        """The visual tokens (B_img, N, D) of images, or of regions."""

    def paired(self, text: Text, visual: Visual, image_index: Tensor) -> tuple[Text, Visual]:
        """Each text beside the visual tokens of its image."""


class TuningMethod(nn.Module):
    """A way to tune a network; what it adds are its own submodules, which are all trainable.

    The network calls :meth:`read`, and knows little else of it. A method that changes the inside
    of a layer does so from outside, when it is built.

    Args:
        config: the method's `params`.
        network: what is tuned.

    Attributes:
        saves_backbone: whether a checkpoint holds the whole network; by default it holds what is
            trainable alone.
        published_names: see :mod:`clipvil_mmf.layers.published`; empty without a counterpart.
        published_unused: published prefix -> why no parameter takes it.
        section: the yaml section that it was built from.
        samples_wanted: how many samples of the train split, of all processes together,
            :meth:`start_from_samples` is to see before the first update; 0 for none.
        keeps_graph: whether a frozen backbone is computed with its graph, as maps of where a model
            looked need it; else under `no_grad`.
    """

    saves_backbone: ClassVar[bool] = False
    published_names: ClassVar[Names] = {}
    published_unused: ClassVar[Names] = {}
    section: Mapping[str, Any]
    samples_wanted: int = 0
    keeps_graph: bool = False

    def __init__(self, config: Any, network: Network) -> None:
        super().__init__()
        self.config = config

    def is_trainable(self, name: str, owner: nn.Module) -> bool:
        """Whether a parameter of the network, held by `owner`, is; by default the head's are."""
        return name.startswith(HEAD)

    def read(self, fusion: Fusion, text: Text, visual: Visual) -> Tensor:
        """The pooled output (B, D) of questions and the visual tokens of each one's image."""
        return fusion(text, visual)

    def backbone_precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context that a frozen backbone computes in; by default the caller's."""
        return nullcontext()

    def set_modes(self, network: Network) -> None:
        """Put parts of the network into another mode than its own; by default none."""

    def start_from(self, network: Network) -> None:
        """Begin from the network's starting weights, which are there now; by default in no way."""

    def start_from_samples(self, network: Network, samples: Iterator[Any]) -> None:
        """Begin from what the network, in evaluation mode, makes of samples: of this process, and
        each a :class:`clipvil_mmf.tuning.fisher.Sample`.
        """
        raise NotImplementedError(f"{type(self).__name__} wants no samples")

    def tower_parameters(self) -> Iterator[nn.Parameter]:
        """Those of its parameters that the optimizer counts as the visual tower's."""
        return iter(())

    @staticmethod
    def backbone_name(name: str) -> str | None:
        """The name that one of the network's tensors has without the method; None for its own."""
        return None if name.startswith(_OWN) else name

    def merged_state(self, network: nn.Module) -> dict[str, Tensor]:
        """The state dict of the network with what can be added to its weights added to them."""
        return network.state_dict()

    @classmethod
    def published_names_beside(cls, fusion: Names) -> Names:
        """The published names of what it adds; `fusion` are those of the network's fusion."""
        return {f"{_OWN}{ours}": theirs for ours, theirs in cls.published_names.items()}


def layered_fusion(network: Network, method: str) -> Fusion:
    """The network's fusion; a ConfigError if its hidden states cannot be read."""
    fusion = network.fusion
    if not fusion.has_hidden_states:
        raise ConfigError(
            f"method: {method} reads the hidden states of the fusion, as joint gives them; with "
            "another fusion, full, frozen, bitfit and lora are available."
        )
    kind = type(fusion)
    has = {
        "layers": hasattr(fusion, "layers"),
        "hidden_states": kind.hidden_states is not Fusion.hidden_states,
    }
    lacking = [name for name, is_there in has.items() if not is_there]
    if lacking:
        raise ConfigError(
            f"method: {method} reads the hidden states of the fusion, but {kind.__module__}."
            f"{kind.__qualname__} says has_hidden_states and lacks {' and '.join(lacking)}."
        )
    return fusion


def reduced_width(fusion: Fusion, reduction_factor: int) -> int:
    """The fusion's width divided by a factor; a ConfigError if that does not divide it."""
    if fusion.hidden_size % reduction_factor:
        raise ConfigError(
            f"reduction_factor: {reduction_factor} does not divide the fusion's "
            f"hidden_size {fusion.hidden_size}."
        )
    return fusion.hidden_size // reduction_factor
