"""Pooled output (B, D) -> scores (B, labels)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipvil_mmf.config import build
from clipvil_mmf.heads.base import Head
from clipvil_mmf.heads.mlp import MlpConfig, MlpHead

# A head is built from its config, the pooled width D and the number of labels.
HEADS: dict[str, tuple[type, type[Head]]] = {
    "mlp": (MlpConfig, MlpHead),
}


def build_head(
    section: Mapping[str, Any] | None,
    in_features: int,
    num_labels: int,
    where: str = "classifier",
) -> Head:
    """The classifier of a `{type: ..., params: {...}}` section."""
    return build(HEADS, section, where, in_features, num_labels)


__all__ = ["HEADS", "Head", "MlpConfig", "MlpHead", "build_head"]
