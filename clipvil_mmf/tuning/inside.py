"""What methods that work inside the network's layers share: what is trainable beside their own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from clipvil_mmf.config import ConfigError
from clipvil_mmf.tuning.method import HEAD, TOWER, VISUAL_PROJECTION, Network, TuningMethod


@dataclass
class InsideConfig:
    """What the `params` of these methods have; the defaults are published."""

    # The visual projection is trainable beside the method's own parameters.
    train_visual_projection: bool = True
    # Scales and biases of the BatchNorms of a ResNet tower are trainable.
    train_batch_norm: bool = False


class InsideMethod(TuningMethod):
    """The head is trainable and, as the configuration says, visual projection and BatchNorms.

    Raises:
        ConfigError: `train_batch_norm` is set and the tower has none, or is frozen.
    """

    def __init__(self, config: InsideConfig, network: Network) -> None:
        super().__init__(config, network)
        if config.train_batch_norm:
            if not any(isinstance(part, _BatchNorm) for part in network.image_encoder.modules()):
                raise ConfigError("train_batch_norm: the tower has no BatchNorm; set it to false.")
            check_tower_is_trainable("train_batch_norm: BatchNorms", network)

    def is_trainable(self, name: str, owner: nn.Module) -> bool:
        """See :class:`InsideMethod`."""
        if name.startswith(TOWER):
            return self.trains_batch_norm and isinstance(owner, _BatchNorm)
        return name.startswith(HEAD) or (
            self.config.train_visual_projection and name.startswith(VISUAL_PROJECTION)
        )

    @property
    def trains_batch_norm(self) -> bool:
        """Whether the tower's BatchNorms are trainable."""
        return self.config.train_batch_norm


def check_tower_is_trainable(what: str, network: Network) -> None:
    """A ConfigError, which begins with `what`, if the whole image encoder is frozen."""
    if not any(parameter.requires_grad for parameter in network.image_encoder.parameters()):
        raise ConfigError(
            f"{what} in a tower that image_encoder.params.frozen lets run under no_grad would "
            "never change; set it to false."
        )
