"""What a method asks of the network that it tunes, and how a frozen backbone runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from clipvil_mmf.config import check_choice
from clipvil_mmf.fusion import Fusion, Visual
from clipvil_mmf.layers.dtypes import PRECISIONS, precision_name


class Network(Protocol):
    """A network as a tuning method sees it: :class:`clipvil_mmf.network.ClipVilNetwork`."""

    image_encoder: nn.Module
    visual_embedding: nn.Module
    fusion: Fusion
    classifier: nn.Module

    def encode_visual(self, images: Any) -> Visual:
        """The visual tokens (B_img, N, D) of images, or of regions."""


MODES = ("train", "eval")


@dataclass
class BackboneConfig:
    """What the `params` of every method with a frozen backbone have."""

    # train (as published): the frozen fusion's dropout is active in training, so that a question
    # has other hidden states in each epoch. eval: it is not. The tower's BatchNorm has a key of
    # its own, image_encoder.params.batch_norm.
    backbone_mode: str = "train"
    # What the frozen backbone computes in; trainable parts stay in fp32. bf16 rounds its hidden
    # states to 3 digits, and is faster where the processor has it.
    backbone_precision: str = "fp32"

    def __post_init__(self) -> None:
        check_choice("backbone_mode", self.backbone_mode, MODES)
        self.backbone_precision = precision_name("backbone_precision", self.backbone_precision)
        check_choice("backbone_precision", self.backbone_precision, PRECISIONS)


def disable_dropout(network: Network, config: BackboneConfig) -> None:
    """Put the frozen embedding and fusion into evaluation mode, if `backbone_mode` says so."""
    if config.backbone_mode == "eval":
        network.visual_embedding.eval()
        network.fusion.eval()


def precision(config: BackboneConfig, device: torch.device) -> AbstractContextManager[Any]:
    """The context that the frozen backbone runs in."""
    if config.backbone_precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
