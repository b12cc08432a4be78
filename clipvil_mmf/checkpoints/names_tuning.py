"""Keys that published tuning methods add to a checkpoint: UniPT, LST, SHERL, LoRA, adapters.

Import and export carry their tensors under their published names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# A part of a key -> the method whose checkpoints alone have it.
_METHODS: dict[str, str] = {
    r"\.encoder\.side_gate_layer_l\.": "UniPT",
    r"\.encoder\.side_projection_l\.": "UniPT",
    r"\.encoder\.side_block_l\.": "LST",
    r"\.encoder\.side_gate_params_l\.": "LST",
    r"\.encoder\.side_block\.": "SHERL",
    r"\.lora_[AB]s\.": "LoRA",
    r"\.visual_model\.visual\..*\.adapter\.": "adapters in the visual tower",
    r"\.(attention\.)?output\.adapter\.": "adapters",
}
_ADDED = re.compile("|".join([*_METHODS, r"\.encoder\.side_"]))


def is_added(key: str) -> bool:
    """Whether a tuning method added this key to the backbone's."""
    return _ADDED.search(key) is not None


def methods(keys: Iterable[str]) -> list[str]:
    """The tuning methods whose keys are among these, sorted; empty for a plain checkpoint."""
    keys = [key for key in keys if is_added(key)]
    found = {m for part, m in _METHODS.items() if any(re.search(part, key) for key in keys)}
    return sorted(found) if found or not keys else ["an unknown side network"]
