"""An image encoder: grid features from a plain stack of convolutions."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from clipvil_mmf.config import ConfigError
from clipvil_mmf.vision import ImageEncoder


@dataclass
class ConvGridConfig:
    """`params` of the image encoder `conv_grid`."""

    # Channels after each convolution; each convolution halves height and width.
    widths: list[int] = field(default_factory=lambda: [32, 64, 128])

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"widths: got {self.widths}, expected at least one positive number.")


class ConvGridEncoder(ImageEncoder):
    """Convolutions of stride 2, each with BatchNorm and ReLU.

    Args:
        config: how many, and how wide.

    Attributes:
        out_channels: C, the width of the grid features.
    """

    def __init__(self, config: ConvGridConfig) -> None:
        super().__init__()
        self.out_channels = config.widths[-1]
        blocks: list[nn.Module] = []
        channels = 3
        for width in config.widths:
            blocks += [
                nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / stride, W / stride), the stride being 2 ** len(widths)."""
        return self.blocks(images)
