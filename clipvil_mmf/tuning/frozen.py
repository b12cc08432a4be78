"""A frozen network: the answer head alone is trainable, on pooled outputs under `no_grad`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipvil_mmf.config import check_choice
from clipvil_mmf.fusion import Fusion, Text, Visual
from clipvil_mmf.layers.dtypes import PRECISIONS, at_least_float32, precision_name
from clipvil_mmf.tuning.method import Network, TuningMethod


@dataclass
class FrozenConfig:
    """`params` of the method `frozen`, which every method with a frozen backbone has."""

    # train (as published): the frozen fusion's dropout is active in training, so that a question
    # has other hidden states in each epoch. eval: it is not. The tower's BatchNorm has a key of
    # its own, image_encoder.params.batch_norm.
    backbone_mode: str = "train"
    # What the frozen backbone computes in; trainable parts stay in fp32. bf16 rounds its hidden
    # states to 3 digits, and is faster where the processor has it.
    backbone_precision: str = "fp32"

    def __post_init__(self) -> None:
        check_choice("backbone_mode", self.backbone_mode, ("train", "eval"))
        self.backbone_precision = precision_name("backbone_precision", self.backbone_precision)
        check_choice("backbone_precision", self.backbone_precision, PRECISIONS)


class Frozen(TuningMethod):
    """The answer head is trainable; the backbone runs in the configuration's mode and precision."""

    def set_modes(self, network: Network) -> None:
        """Without dropout in the backbone, if the configuration says so."""
        if self.config.backbone_mode == "eval":
            network.visual_embedding.eval()
            network.fusion.eval()

    def backbone_precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """That of the configuration."""
        if self.config.backbone_precision == "fp32":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    def read(self, fusion: Fusion, text: Text, visual: Visual) -> Tensor:
        """The pooled output (B, D), under `no_grad`."""
        with (
            torch.set_grad_enabled(self.keeps_graph),
            self.backbone_precision(visual.tokens.device),
        ):
            return at_least_float32(fusion(text, visual))
