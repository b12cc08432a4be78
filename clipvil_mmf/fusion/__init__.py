"""Text tokens (B, T) and visual tokens (B, N, D) -> pooled (B, D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipvil_mmf.config import build
from clipvil_mmf.fusion.base import Fusion
from clipvil_mmf.fusion.cross_modal import CrossModalConfig, CrossModalFusion
from clipvil_mmf.fusion.joint import JointConfig, JointFusion
from clipvil_mmf.fusion.vilt import ViltConfig, ViltFusion
from clipvil_mmf.layers.tokens import Text, Visual
from clipvil_mmf.registry import Registry

# Name -> (dataclass of its `params`, a FusionConfig; a Fusion).
FUSIONS: Registry[tuple[type, type[Fusion]]] = Registry(
    "fusion",
    {
        "joint": (JointConfig, JointFusion),
        "cross_modal": (CrossModalConfig, CrossModalFusion),
        "vilt": (ViltConfig, ViltFusion),
    },
    Fusion,
    given=["forward"],
    attributes=[
        f"config.{key}"
        for key in ("hidden_size", "vocab_size", "hidden_dropout_prob", "initializer_range")
    ],
)


def build_fusion(section: Mapping[str, Any] | None, where: str = "fusion") -> Fusion:
    """The fusion of a `{type: ..., params: {...}}` section."""
    return build(FUSIONS, section, where)


__all__ = [
    "FUSIONS",
    "CrossModalConfig",
    "CrossModalFusion",
    "Fusion",
    "JointConfig",
    "JointFusion",
    "Text",
    "Visual",
    "build_fusion",
]
