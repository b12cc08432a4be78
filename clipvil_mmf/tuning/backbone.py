"""What a method asks of the network that it tunes, and how a frozen one runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from clipvil_mmf.config import check_choice


class Network(Protocol):
    """A network as a tuning method sees it: :class:`clipvil_mmf.network.ClipVilNetwork`."""

    image_encoder: nn.Module
    visual_embedding: nn.Module
    fusion: nn.Module
    classifier: nn.Module

    def tokens_of_questions(self, images: Any, image_index: Tensor) -> tuple[Tensor, Tensor | None]:
        """The visual tokens (B, N, D) of each question's image, and their mask or None."""


MODES = ("train", "eval")
PRECISIONS = ("float32", "bfloat16")


@dataclass
class BackboneConfig:
    """What the `params` of every method with a frozen backbone have."""

    # train (as published): the frozen fusion's dropout is active in training, so that a question
    # has other hidden states in each epoch. eval: it is not. The tower's BatchNorm has a key of
    # its own, image_encoder.params.batch_norm.
    backbone_mode: str = "train"
    # What the frozen backbone computes in; what learns stays float32. bfloat16 rounds its hidden
    # states to 3 digits, and is faster where the processor has it.
    backbone_precision: str = "float32"

    def __post_init__(self) -> None:
        check_choice("backbone_mode", self.backbone_mode, MODES)
        check_choice("backbone_precision", self.backbone_precision, PRECISIONS)


def in_evaluation(network: Network, config: BackboneConfig) -> None:
    """Take the frozen fusion's dropout away, if `backbone_mode` says so."""
    if config.backbone_mode == "eval":
        network.visual_embedding.eval()
        network.fusion.eval()


def precision(config: BackboneConfig, device: torch.device) -> AbstractContextManager[Any]:
    """The context that the frozen backbone runs in."""
    if config.backbone_precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
