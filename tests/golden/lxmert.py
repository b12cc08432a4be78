"""LXMERT on region features and boxes: both sides of the last layer, pooled, scores, gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clipvil_mmf.fusion import Text
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.vision import Regions
from tests.golden.compare import (
    TINY,
    TINY_WIDTHS,
    Golden,
    compile_with,
    gradients,
    load_golden,
    load_named,
    published_weights,
    text_inputs,
)
from tests.golden.published import CROSS_MODAL

TINY_LXMERT = {
    **TINY,
    "image_encoder": {"type": "region_features", "params": {"feature_size": 32}},
    "fusion": {
        "type": "cross_modal",
        "params": {**TINY_WIDTHS, "language_layers": 3, "cross_layers": 2, "visual_layers": 2},
    },
}


published = CROSS_MODAL.published


def load() -> tuple[ClipVilNetwork, Golden]:
    """The tiny LXMERT with the golden weights, and the golden file."""
    golden = load_golden("lxmert")
    network = ClipVilNetwork.from_config(**TINY_LXMERT)
    load_named(network, published_weights(golden), published)
    return network, golden


def region_inputs(golden: Golden, dtype: torch.dtype) -> dict[str, Tensor | Regions]:
    """The network's arguments."""
    feats, boxes = (torch.from_numpy(golden[f"in/{name}"]).to(dtype) for name in ("feats", "boxes"))
    return {"images": Regions(feats, boxes), **text_inputs(golden)}


def measure(dtype: torch.dtype = torch.float64, backend: str | None = None) -> dict[str, Tensor]:
    """Everything that is recorded; there is no `train/`."""
    network, golden = load()
    network.to(dtype).eval()
    compile_with(network, backend)
    batch = region_inputs(golden, dtype)
    target = torch.from_numpy(golden["in/target"]).to(dtype)
    output = network(**batch)
    loss = F.binary_cross_entropy_with_logits(output.scores, target) * target.shape[1]
    loss.backward()
    with torch.no_grad():
        visual = network.encode_visual(batch["images"])
        text = Text(batch["input_ids"], batch["input_mask"], batch["segment_ids"])
        language_states, visual_states = network.fusion.encode(text, visual)
    ours = {
        "visn_fc": visual.tokens,
        "lang": language_states,
        "visn": visual_states,
        "pooled": output.pooled,
        "logits": output.scores,
        "loss": loss.reshape(1),
    }
    return {
        **{f"eval/{name}": value.detach() for name, value in ours.items()},
        **gradients("eval", network, golden, published),
    }
