"""Adapters (arXiv 1902.00751) in every layer of the fusion, and in the visual tower if wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.layers.published import CLIP, Names
from clipvil_mmf.layers.transformer import init_bert_weights
from clipvil_mmf.tuning.bottleneck import Bottleneck, BottleneckAdapters, BottleneckConfig
from clipvil_mmf.tuning.inside import InsideMethod, check_tower_is_trainable
from clipvil_mmf.tuning.method import Network


@dataclass
class AdapterConfig(BottleneckConfig):
    """`params` of the method `adapter`."""

    # Published for CLIP-ViL.
    reduction_factor: int = 8
    # Multiply what each adapter adds by a learned number that is 0 at the start.
    gate: bool = False
    # Adapters in the bottlenecks of the ResNet tower as well; its BatchNorms are then trainable.
    visual: bool = False
    # Adapters in the fusion's layers, whose LayerNorms are then trainable; false leaves the fusion
    # frozen: for the tower's adapters or BatchNorms alone.
    fusion: bool = True


class Adapters(BottleneckAdapters):
    """See :class:`BottleneckAdapters`; in the tower as well if wanted, or there alone.

    Raises:
        ConfigError: `visual` is set and the tower is not a ResNet, or frozen.
    """

    published_names: ClassVar[Names] = {
        **BottleneckAdapters.published_names,
        "visual.tower_layer{}_{}.": f"{CLIP}visual.layer{{}}.{{}}.adapter.",
    }

    def __init__(self, config: AdapterConfig, network: Network) -> None:
        super().__init__(config, network)
        if config.fusion:
            self.add_to_layers(network, "adapter")
            init_bert_weights(self, network.fusion.config.initializer_range)
        self.visual = nn.ModuleDict()
        if config.visual:
            self._add_visual(network)

    def bottleneck(self, width: int, inner: int) -> Bottleneck:
        """See :meth:`BottleneckAdapters.bottleneck`."""
        return Bottleneck(nn.Linear(width, inner), nn.Linear(inner, width), self.config.gate)

    def _add_visual(self, network: Network) -> None:
        from open_clip import modified_resnet

        blocks = {
            name: module
            for name, module in network.image_encoder.named_modules()
            if isinstance(module, modified_resnet.Bottleneck)
        }
        if not blocks:
            raise ConfigError("visual: adapters are made for the bottlenecks of a ResNet tower.")
        check_tower_is_trainable("visual: adapters", network)
        for name, block in blocks.items():
            adapter = VisualAdapter(block.conv2.in_channels, self.config.gate)
            self.visual[name.replace(".", "_")] = adapter
            block.conv2.register_forward_pre_hook(adapter.before)
            block.bn2.register_forward_hook(adapter.after)

    def is_trainable(self, name: str, owner: nn.Module) -> bool:
        """As for all adapters; without adapters in the fusion its LayerNorms are not."""
        if self.config.fusion:
            return super().is_trainable(name, owner)
        return InsideMethod.is_trainable(self, name, owner)

    @property
    def trains_batch_norm(self) -> bool:
        """Whether the tower's BatchNorms are trainable: with adapters beside them always."""
        return self.config.visual or self.config.train_batch_norm

    def tower_parameters(self) -> Iterator[nn.Parameter]:
        """The visual adapters'."""
        return self.visual.parameters()


class VisualAdapter(nn.Module):
    """A 1x1 convolution and BatchNorm beside a bottleneck's 3x3 ones, added before their ReLU."""

    def __init__(self, channels: int, gate: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.gate = nn.Parameter(torch.zeros(1)) if gate else None
        self._branch: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), what is added."""
        update = self.bn(self.conv(features))
        return update if self.gate is None else self.gate * update

    def before(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """The hook at the 3x3 convolution, whose input is adapted."""
        self._branch = self(args[0])

    def after(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """The hook at the BatchNorm behind that convolution."""
        branch, self._branch = self._branch, None
        return output + branch
