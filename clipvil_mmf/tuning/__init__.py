"""What of a network is trainable, and what is added beside or inside it: the section `tuning`.

A method is one file, with a dataclass of its `params` and a :class:`TuningMethod`, and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipvil_mmf.config import build
from clipvil_mmf.registry import Registry
from clipvil_mmf.tuning.adapter import AdapterConfig, Adapters
from clipvil_mmf.tuning.bitfit import BitFit, BitFitConfig
from clipvil_mmf.tuning.compacter import Compacter, CompacterConfig
from clipvil_mmf.tuning.frozen import Frozen, FrozenConfig
from clipvil_mmf.tuning.full import Full, FullConfig
from clipvil_mmf.tuning.ladder import Ladder, LadderConfig
from clipvil_mmf.tuning.lora import LoRA, LoRAConfig
from clipvil_mmf.tuning.low_rank_adapter import LowRankAdapterConfig, LowRankAdapters
from clipvil_mmf.tuning.method import Network, TuningMethod
from clipvil_mmf.tuning.sherl import Sherl, SherlConfig
from clipvil_mmf.tuning.side import SideNetwork
from clipvil_mmf.tuning.unipt import UniPT, UniPTConfig

METHODS: Registry[tuple[type, type[TuningMethod]]] = Registry(
    "tuning method",
    {
        "full": (FullConfig, Full),
        "frozen": (FrozenConfig, Frozen),
        "bitfit": (BitFitConfig, BitFit),
        "unipt": (UniPTConfig, UniPT),
        "ladder": (LadderConfig, Ladder),
        "sherl": (SherlConfig, Sherl),
        "adapter": (AdapterConfig, Adapters),
        "compacter": (CompacterConfig, Compacter),
        "low_rank_adapter": (LowRankAdapterConfig, LowRankAdapters),
        "lora": (LoRAConfig, LoRA),
    },
    TuningMethod,
    attributes=["config"],
)


def is_added(name: str) -> bool:
    """Whether a tuning method has added the tensor of this name to a network."""
    return any(kind.backbone_name(name) is None for _, kind in METHODS.values())


def build_tuning(
    section: Mapping[str, Any] | None, network: Network, where: str = "tuning"
) -> TuningMethod:
    """The method of a `{method: ..., params: {...}}` section; None is full fine-tuning.

    What is not trainable by the method is frozen; what is frozen already stays so.

    Args:
        section: of the yaml file.
        network: the backbone; methods that work inside its layers change it.
        where: dotted place of the section, the prefix of every error.

    Raises:
        ConfigError: an unknown method, key or value, or one that does not suit the network.
    """
    frozen = {id(p) for p in network.parameters() if not p.requires_grad}
    section = section or {"method": "full"}
    method = build(METHODS, section, where, network, key="method")
    method.section = dict(section)
    for prefix, owner in network.named_modules():
        for part, parameter in owner.named_parameters(recurse=False):
            name = f"{prefix}.{part}" if prefix else part
            trainable = id(parameter) not in frozen and method.is_trainable(name, owner)
            parameter.requires_grad_(trainable)
    return method


__all__ = ["METHODS", "Full", "SideNetwork", "TuningMethod", "build_tuning", "is_added"]
