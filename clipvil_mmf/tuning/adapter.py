"""Adapters (arXiv 1902.00751) in every layer of the fusion, and in the visual tower if wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from clipvil_mmf.config import ConfigError, check_at_least
from clipvil_mmf.layers.published import BERT, CLIP, Names
from clipvil_mmf.layers.transformer import init_bert_weights
from clipvil_mmf.tuning.method import (
    HEAD,
    TOWER,
    VISUAL_PROJECTION,
    Network,
    TuningMethod,
    layered_fusion,
    reduced_width,
)


@dataclass
class AdapterConfig:
    """`params` of the method `adapter`."""

    # An adapter's inner width is the fusion's divided by this.
    reduction_factor: int = 8
    # Multiply what each adapter adds by a learned number that is 0 at the start.
    gate: bool = False
    # Adapters in the bottlenecks of the ResNet tower as well; its BatchNorms are then trainable.
    visual: bool = False

    def __post_init__(self) -> None:
        check_at_least("reduction_factor", self.reduction_factor, 1)


class Adapters(TuningMethod):
    """A small bottleneck after both output matrices of each layer, before dropout and LayerNorm.

    All LayerNorms, the visual projection and the answer head are trainable as well.

    Raises:
        ConfigError: the fusion gives no hidden states, `reduction_factor` does not divide its
            width, or `visual` is set and the tower is not a ResNet.
    """

    published_names: ClassVar[Names] = {
        **{
            f"{ours}.{{}}.{part}": f"{BERT}encoder.layer.{{}}.{theirs}.adapter.adapters.vqa.{name}"
            for ours, theirs in (("attention", "attention.output"), ("feed_forward", "output"))
            for part, name in (("down.", "down_sampler."), ("up.", "up_sampler."), ("gate", "gate"))
        },
        "visual.tower_layer{}_{}.": f"{CLIP}visual.layer{{}}.{{}}.adapter.",
    }

    def __init__(self, config: AdapterConfig, network: Network) -> None:
        super().__init__(config, network)
        fusion = layered_fusion(network, "adapter")
        inner = reduced_width(fusion, config.reduction_factor)
        shape = (fusion.hidden_size, inner, config.gate)
        self.attention = nn.ModuleList(Adapter(*shape) for _ in fusion.layers)
        self.feed_forward = nn.ModuleList(Adapter(*shape) for _ in fusion.layers)
        init_bert_weights(self, fusion.config.initializer_range)
        for index, layer in enumerate(fusion.layers):
            layer.attention.output.register_forward_hook(self.attention[index].after)
            layer.feed_forward.output.register_forward_hook(self.feed_forward[index].after)
        self.visual = nn.ModuleDict()
        if config.visual:
            self._add_visual(network.image_encoder)

    def _add_visual(self, encoder: nn.Module) -> None:
        from open_clip.modified_resnet import Bottleneck

        blocks = {n: m for n, m in encoder.named_modules() if isinstance(m, Bottleneck)}
        if not blocks:
            raise ConfigError("visual: adapters are made for the bottlenecks of a ResNet tower.")
        if not any(parameter.requires_grad for parameter in encoder.parameters()):
            raise ConfigError(
                "visual: adapters in a tower that image_encoder.params.frozen lets run under "
                "no_grad would never change; set it to false."
            )
        for name, block in blocks.items():
            adapter = VisualAdapter(block.conv2.in_channels, self.config.gate)
            self.visual[name.replace(".", "_")] = adapter
            block.conv2.register_forward_pre_hook(adapter.before)
            block.bn2.register_forward_hook(adapter.after)

    def is_trainable(self, name: str, owner: nn.Module) -> bool:
        """Norms, visual projection and head are; BatchNorms with visual adapters alone."""
        return (
            isinstance(owner, nn.LayerNorm)
            or name.startswith((HEAD, *VISUAL_PROJECTION))
            or (self.config.visual and name.startswith(TOWER) and isinstance(owner, _BatchNorm))
        )

    def tower_parameters(self) -> Iterator[nn.Parameter]:
        """The visual adapters'."""
        return self.visual.parameters()


class Adapter(nn.Module):
    """Linear to `inner`, tanh-approximated GELU, Linear, and a residual around them.

    With `gate` a learned number, 0 at the start, multiplies what is added.
    """

    def __init__(self, width: int, inner: int, gate: bool) -> None:
        super().__init__()
        self.down = nn.Linear(width, inner)
        self.up = nn.Linear(inner, width)
        self.gate = nn.Parameter(torch.zeros(1)) if gate else None

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, S, width) -> (B, S, width)."""
        update = self.up(F.gelu(self.down(hidden), approximate="tanh"))
        return hidden + (update if self.gate is None else self.gate * update)

    def after(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """The hook at the matrix whose output it adapts."""
        return self(output)


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
