"""A frozen ResNet in training, away from the CPU's short cuts: its numbers and its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clipvil_mmf.vision import build_image_encoder, resnet_inference
from clipvil_mmf.vision.clip_grid import ClipGridEncoder

TOWER = {"layers": [2, 1, 1, 1], "width": 8}


class LiveBytes(TorchDispatchMode):
    """The largest sum of the tensors that are made inside and alive together."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                self._alive.setdefault(reference.cdata, (reference, storage.nbytes()))
        self._alive = {key: pair for key, pair in self._alive.items() if not pair[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return output


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that a piece of work holds at its peak."""
    with torch.no_grad(), LiveBytes() as live:
        work()
    return live.peak


def frozen_encoder(**params: Any) -> ClipGridEncoder:
    """A frozen tower in training, whose BatchNorms differ from each other."""
    encoder = build_image_encoder({"type": "clip_grid", "params": {"frozen": True, **params}})
    torch.manual_seed(0)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return encoder.train()


def plain(encoder: ClipGridEncoder, images: torch.Tensor) -> torch.Tensor:
    """The grid by the tower's own modules, as in the published code."""
    tower = encoder.tower
    features = tower.stem(images)
    for stage in (tower.layer1, tower.layer2, tower.layer3, tower.layer4):
        features = stage(features)
    return features


@pytest.mark.parametrize("values", [1, 2**26], ids=["image by image", "all at once"])
def test_statistics_of_parts_are_those_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, values: int
) -> None:
    monkeypatch.setattr(resnet_inference, "_PART", values)
    monkeypatch.setattr(resnet_inference, "_by_hand", lambda features: False)
    images = torch.randn(3, 3, 64, 96) + torch.arange(3).view(3, 1, 1, 1)  # one unlike the other
    ours, reference = frozen_encoder(tower=TOWER), frozen_encoder(tower=TOWER)
    reference.load_state_dict(ours.state_dict())
    with torch.no_grad():
        expected = plain(reference, images)
        torch.testing.assert_close(ours(images), expected, atol=1e-4, rtol=1e-4)
        for name, value in reference.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value)
        ours.eval()
        ours.config.fold_batch_norm = True
        torch.testing.assert_close(ours(images), plain(reference.eval(), images))


def test_in_half_precision_statistics_are_float32() -> None:
    images = torch.randn(2, 3, 64, 96)
    ours, reference = frozen_encoder(tower=TOWER), frozen_encoder(tower=TOWER)
    reference.load_state_dict(ours.state_dict())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        grid, expected = ours(images), plain(reference, images)
    assert grid.dtype == torch.bfloat16
    assert (grid - expected).abs().mean() < 0.05 * expected.abs().mean()
    moved, same = ours.tower.layer4[0].bn3.running_var, reference.tower.layer4[0].bn3.running_var
    assert moved.dtype == torch.float32
    torch.testing.assert_close(moved, same, atol=0.02, rtol=0.02)


def test_memory_of_a_frozen_tower_away_from_the_cpu() -> None:
    """At most 0.6 of the published code's, at the published sizes.

    The device `meta` computes nothing, but holds what CUDA would: measured there, 32 images took
    the published code 2,102 MiB.
    """
    with torch.device("meta"):
        encoder = frozen_encoder(name="RN50x4")
        images = torch.empty(32, 3, 384, 640)
    published = peak_of(lambda: plain(encoder, images))
    assert published == pytest.approx(2102 * 2**20, rel=0.01)
    assert peak_of(lambda: encoder(images)) <= 0.6 * published
