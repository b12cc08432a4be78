"""Pooled output (B, D) -> scores (B, labels)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipvil_mmf.config import ConfigError, build
from clipvil_mmf.heads.base import Head, NoHead
from clipvil_mmf.heads.mlp import MlpConfig, MlpHead
from clipvil_mmf.registry import Registry

# A head is built from its config, the pooled width D and the number of labels.
HEADS: Registry[tuple[type, type[Head]]] = Registry(
    "head", {"mlp": (MlpConfig, MlpHead)}, Head, given=["forward"]
)


def build_head(
    section: Mapping[str, Any] | None,
    in_features: int,
    num_labels: int,
    where: str = "classifier",
) -> Head:
    """The classifier of a `{type: ..., params: {...}}` section; a `NoHead` for 0 labels.

    Raises:
        ConfigError: the section is wrong, or the head lacks one of its `label_tensors`.
    """
    if not num_labels:
        return NoHead()
    head = build(HEADS, section, where, in_features, num_labels)
    lacking = [name for name in head.label_tensors if name not in head.state_dict()]
    if lacking:
        raise ConfigError(
            f"{where}.type: {type(head).__name__}.label_tensors names {lacking[0]}, but the head "
            f"has {', '.join(head.state_dict())}. Correct the name there."
        )
    return head


__all__ = ["HEADS", "Head", "MlpConfig", "MlpHead", "build_head"]
