"""Names of what the published tuning methods add: UniPT, LST, SHERL, LoRA, adapters.

Published LoRA and adapter keys have the task in them; here it is always vqa, see `layouts.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clipvil_mmf.checkpoints.names_joint import BERT, CLIP

_ENCODER = f"{BERT}encoder."
_LAYER = f"{_ENCODER}layer.{{}}."

_UNIPT: dict[str, str] = {
    "tuning.projection.": f"{_ENCODER}side_projection_l.",
    "tuning.gate.": f"{_ENCODER}side_gate_layer_l.",
    "tuning.output.": f"{_ENCODER}side_final_upsample_l.0.",
}
_LADDER: dict[str, str] = {
    "tuning.blocks.{}.attention.query.": f"{_ENCODER}side_block_l.{{}}.attention.self.query.",
    "tuning.blocks.{}.attention.key.": f"{_ENCODER}side_block_l.{{}}.attention.self.key.",
    "tuning.blocks.{}.attention.value.": f"{_ENCODER}side_block_l.{{}}.attention.self.value.",
    "tuning.blocks.{}.attention.output.": f"{_ENCODER}side_block_l.{{}}.attention.output.dense.",
    "tuning.blocks.{}.attention.LayerNorm.": (
        f"{_ENCODER}side_block_l.{{}}.attention.output.LayerNorm."
    ),
    "tuning.blocks.{}.feed_forward.intermediate.": (
        f"{_ENCODER}side_block_l.{{}}.intermediate.dense."
    ),
    "tuning.blocks.{}.feed_forward.output.": f"{_ENCODER}side_block_l.{{}}.output.dense.",
    "tuning.blocks.{}.feed_forward.LayerNorm.": f"{_ENCODER}side_block_l.{{}}.output.LayerNorm.",
    "tuning.gates.{}": f"{_ENCODER}side_gate_params_l.{{}}",
    "tuning.up.": f"{_ENCODER}side_final_upsample_l.",
}
_SHERL: dict[str, str] = {
    "tuning.reductions.{}.": f"{_ENCODER}side_block.hor_block.{{}}.",
    "tuning.score.": f"{_ENCODER}side_block.guide_block.fc_attn.",
    "tuning.residual_gate": f"{_ENCODER}side_block.gate_params",
    "tuning.out.": f"{_ENCODER}side_block.fc_out.",
}
_SIDE: dict[str, str] = {
    "tuning.first.": f"{_ENCODER}side_first_downsample_l.",
    "tuning.downs.{}.": f"{_ENCODER}side_downsamples_l.{{}}.",
}
_ADAPTERS: dict[str, str] = {
    f"tuning.{ours}.{{}}.{part}": f"{_LAYER}{theirs}.adapter.adapters.vqa.{published}"
    for ours, theirs in (("attention", "attention.output"), ("feed_forward", "output"))
    for part, published in (("down.", "down_sampler."), ("up.", "up_sampler."), ("gate", "gate"))
}
_VISUAL_ADAPTERS: dict[str, str] = {
    "tuning.visual.tower_layer{}_{}.": f"{CLIP}visual.layer{{}}.{{}}.adapter."
}

NAMES: dict[str, str] = {
    **_UNIPT,
    **_LADDER,
    **_SHERL,
    **_SIDE,
    **_ADAPTERS,
    **_VISUAL_ADAPTERS,
}

# What peft calls the factors -> as published, for the task vqa.
_FACTORS = {"lora_A.default.weight": "lora_As.vqa", "lora_B.default.weight": "lora_Bs.vqa"}


def low_rank(names: Mapping[str, str]) -> dict[str, str]:
    """The names of LoRA's factors beside the queries and values of a table."""
    return {
        f"{ours}{factor}": f"{theirs}{published}"
        for ours, theirs in names.items()
        if ours.endswith((".query.", ".value.")) and ours.startswith("fusion.")
        for factor, published in _FACTORS.items()
    }


# Method -> a part of the keys that its checkpoints alone have.
_TELLING: dict[str, str] = {
    "unipt": ".encoder.side_gate_layer_l.",
    "ladder": ".encoder.side_block_l.",
    "sherl": ".encoder.side_block.",
    "lora": ".lora_As.",
    "adapter": ".adapter.",
}


def method_of(keys: Iterable[str]) -> str | None:
    """The tuning method that a published checkpoint's keys tell of; None for a plain one."""
    keys = list(keys)
    return next(
        (method for method, part in _TELLING.items() if any(part in key for key in keys)), None
    )


def adds(ours: str) -> bool:
    """Whether a tuning method added the parameter or buffer of this name to the backbone's."""
    return ours.startswith("tuning.") or ".lora_" in ours


def is_added(key: str) -> bool:
    """Whether a tuning method added this published key to the backbone's."""
    parts = (*_TELLING.values(), ".lora_Bs.", ".encoder.side_")
    return any(part in key for part in parts)
