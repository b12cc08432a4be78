"""The golden numbers, recorded on a CPU, come out on a GPU as well."""

from __future__ import annotations

import pytest
import torch

from clipvil_mmf.preprocessing import CLIP_MEAN, CLIP_STD, normalize, pixel_statistics
from clipvil_mmf.vision.clip_grid import ClipGridConfig, ClipGridEncoder
from tests.golden import classes, tuned
from tests.golden.compare import FLOAT32, compare, load_golden, outside
from tests.golden.files import FILES

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

NAMES = ["clipvil_full", *tuned.SECTIONS, *classes.SCALES]


@pytest.mark.parametrize("name", NAMES)
def test_in_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch lets convolutions round to TF32 on CUDA, which is 1e-3 of a value.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    ours = FILES[name](device="cuda", dtype=torch.float32)
    rows = compare(load_golden(name), ours, FLOAT32, reference=FILES[name]())
    assert rows and outside(rows) == []


@pytest.mark.parametrize("name", NAMES)
def test_in_float64(name: str) -> None:
    rows = compare(load_golden(name), FILES[name](device="cuda"))
    assert rows and outside(rows) == []


@pytest.mark.parametrize("wanted", [torch.contiguous_format, torch.channels_last])
def test_pixels_are_normalised_to_the_same_bits(wanted: torch.memory_format) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(6).view(2, 3, 16, 16)
    sizes = torch.tensor([[16, 16], [5, 9]])
    given = pixels, pixel_statistics(CLIP_MEAN, CLIP_STD), sizes
    images = normalize(*(tensor.cuda() for tensor in given), wanted)
    assert torch.equal(images.cpu(), normalize(*given))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_statistics_of_a_frozen_tower(
    precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    tower = {"layers": [1, 2, 1, 1], "width": 16}
    with torch.device("cuda"):
        frozen = ClipGridEncoder(ClipGridConfig(tower=tower, frozen=True))
        plain = ClipGridEncoder(ClipGridConfig(tower=tower))
        images = torch.randn(5, 3, 64, 96)
    frozen.load_state_dict(plain.state_dict())
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == torch.bfloat16):
        ours, expected = frozen(images), plain(images)  # the latter by its own modules
    rounding = 16 * torch.finfo(precision).eps
    scale = expected.abs().mean().item()
    assert (ours - expected).abs().mean().item() < rounding * scale
    for name, value in plain.state_dict().items():
        moved = frozen.state_dict()[name]
        torch.testing.assert_close(moved, value, atol=rounding, rtol=rounding, msg=name)
