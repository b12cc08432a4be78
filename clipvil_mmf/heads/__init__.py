"""Pooled output (B, D) -> scores (B, answers)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from clipvil_mmf.config import build
from clipvil_mmf.heads.mlp import MlpConfig, MlpHead

# A head is built from its config, the pooled width D and the number of answers.
HEADS: dict[str, tuple[type, type[nn.Module]]] = {
    "mlp": (MlpConfig, MlpHead),
}


def build_head(
    section: Mapping[str, Any] | None,
    in_features: int,
    num_labels: int,
    where: str = "classifier",
) -> nn.Module:
    """The classifier of a `{type: ..., params: {...}}` section."""
    return build(HEADS, section, where, in_features, num_labels)


__all__ = ["HEADS", "MlpConfig", "MlpHead", "build_head"]
