"""What the comparison with `clipvil_full` rests on, and a layout that must not change it."""

from __future__ import annotations

import torch

from clipvil_mmf.network import ClipVilNetwork
from tests.golden.compare import (
    FLOAT32,
    TINY,
    close_outputs,
    inputs,
    load_tiny,
    outside,
    published_weights,
)
from tests.golden.published import load_published


def test_deviation_is_noticed() -> None:
    """The comparison itself: a slightly wrong pooler is seen in everything behind it."""
    network, golden = load_tiny()
    with torch.no_grad():
        network.fusion.pooler.bias += 1e-3
        output = network.eval()(**inputs(golden))
    difference = (output.pooled - torch.from_numpy(golden["eval/pooled"])).abs().max()
    assert 9e-4 < difference < 2e-3
    assert outside([close_outputs("pooled", output.pooled, golden["eval/pooled"])])


def test_golden_batch_is_masked() -> None:
    """The recorded batch has padding, so masking is part of what is compared."""
    network, golden = load_tiny()
    batch = inputs(golden)
    assert 0 < int(batch["input_mask"].sum()) < batch["input_mask"].numel()
    network.eval()
    with torch.no_grad():
        masked = network(**batch).scores
        batch["input_mask"] = torch.ones_like(batch["input_mask"])
        unmasked = network(**batch).scores
    assert (masked - unmasked).abs().max() > 1e-3


def test_channels_last_changes_rounding_only() -> None:
    """The NHWC layout agrees with the recorded evaluation as well."""
    encoder = {"type": "clip_grid", "params": {**TINY["image_encoder"]["params"]}}
    encoder["params"]["channels_last"] = True
    network = ClipVilNetwork.from_config(**{**TINY, "image_encoder": encoder}).eval()
    _, golden = load_tiny()
    load_published(network, published_weights(golden))
    seen = []
    network.image_encoder.tower.layer4.register_forward_hook(
        lambda module, args, output: seen.append(
            output.is_contiguous(memory_format=torch.channels_last)
        )
    )
    with torch.no_grad():
        scores = network(**inputs(golden)).scores
    assert seen == [True]
    expected = torch.from_numpy(golden["eval/logits"])
    torch.testing.assert_close(scores, expected, atol=FLOAT32.outputs, rtol=0)
