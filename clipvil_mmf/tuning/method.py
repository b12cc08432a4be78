"""What every tuning method is: which parameters learn, and how the network is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.fusion.joint import JointFusion
from clipvil_mmf.tuning.backbone import Network

if TYPE_CHECKING:
    from clipvil_mmf.vision import Regions

# The parts of a network, as their parameters' names begin.
HEAD = "classifier."
TOWER = "image_encoder."
VISUAL_PROJECTION = ("visual_embedding.projection.", "visual_embedding.norm.")


class TuningMethod(nn.Module):
    """A way to tune a network; what it adds are its own submodules, which all learn.

    The network calls it, and knows nothing else of it. A method that changes the inside of a layer
    does so from outside, when it is built.

    Args:
        config: the method's `params`.
        network: what is tuned.

    Attributes:
        samples_wanted: how many samples of the train split, of all processes together,
            :meth:`start_from_samples` is to see before the first update; 0 for none.
    """

    samples_wanted: int = 0

    def __init__(self, config: Any, network: Network) -> None:
        super().__init__()
        self.config = config

    def learns(self, name: str, owner: nn.Module) -> bool:
        """Whether a parameter of the network learns; by default the answer head's do.

        Args:
            name: of the parameter, such as ``fusion.layers.0.attention.query.weight``.
            owner: the module that holds it.
        """
        return name.startswith(HEAD)

    def forward(
        self,
        network: Network,
        images: Tensor | Regions,
        image_index: Tensor,
        input_ids: Tensor,
        input_mask: Tensor,
        segment_ids: Tensor,
    ) -> Tensor:
        """The pooled output (B, D) of a batch; arguments as those of the network's forward."""
        visual = network.tokens_of_questions(images, image_index)
        return network.fusion(input_ids, input_mask, segment_ids, *visual)

    def set_modes(self, network: Network) -> None:
        """Put parts of the network into another mode than its own; by default none."""

    def start_from(self, network: Network) -> None:
        """Begin from the network's starting weights, which are there now; by default in no way."""

    def start_from_samples(self, network: Network, samples: Iterator[Any]) -> None:
        """Begin from what the network makes of samples, of the method that wants some.

        Args:
            network: in evaluation mode.
            samples: see :class:`clipvil_mmf.tuning.fisher.Sample`, those of this process.
        """
        raise NotImplementedError(f"{type(self).__name__} wants no samples")

    def tower_parameters(self) -> Iterator[nn.Parameter]:
        """Those of its parameters that the optimizer counts as the visual tower's."""
        return iter(())


def joint_fusion(network: Network, method: str) -> JointFusion:
    """The network's fusion, which has to be the joint one.

    Raises:
        ConfigError: it is another one.
    """
    if not isinstance(network.fusion, JointFusion):
        raise ConfigError(
            f"method: {method} reads the layers of the fusion joint; with another fusion, "
            "full, frozen, bitfit and lora can be had."
        )
    return network.fusion


def reduced_width(fusion: JointFusion, reduction_factor: int) -> int:
    """The fusion's width divided by a factor.

    Raises:
        ConfigError: the factor does not divide it.
    """
    if fusion.hidden_size % reduction_factor:
        raise ConfigError(
            f"reduction_factor: {reduction_factor} does not divide the fusion's "
            f"hidden_size {fusion.hidden_size}."
        )
    return fusion.hidden_size // reduction_factor
