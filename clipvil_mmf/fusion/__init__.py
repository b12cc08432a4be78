"""Text tokens (B, T) and visual tokens (B, N, D) -> pooled (B, D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from clipvil_mmf.config import build
from clipvil_mmf.fusion.cross_modal import CrossModalConfig, CrossModalFusion
from clipvil_mmf.fusion.joint import JointConfig, JointFusion

# A fusion maps (input_ids, input_mask, segment_ids, visual_tokens, visual_mask) to (B, D), and its
# `language_states` maps them to (B, T, D), of which `pool` makes (B, D). Its `config` has
# hidden_size, hidden_dropout_prob and initializer_range, which the visual embedding shares.
FUSIONS: dict[str, tuple[type, type[nn.Module]]] = {
    "joint": (JointConfig, JointFusion),
    "cross_modal": (CrossModalConfig, CrossModalFusion),
}


def build_fusion(section: Mapping[str, Any] | None, where: str = "fusion") -> nn.Module:
    """The fusion of a `{type: ..., params: {...}}` section."""
    return build(FUSIONS, section, where)


__all__ = [
    "FUSIONS",
    "CrossModalConfig",
    "CrossModalFusion",
    "JointConfig",
    "JointFusion",
    "build_fusion",
]
