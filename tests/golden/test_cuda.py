"""The golden numbers, recorded on a CPU, come out on a GPU as well."""

from __future__ import annotations

import pytest
import torch

from tests.golden import tuned
from tests.golden.compare import outside
from tests.golden.files import FILES

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

# Side networks compute in float32 alone.
IN_FLOAT64 = ["clipvil_full", "lora", "adapter", "adapter_vis"]


@pytest.mark.parametrize("name", ["clipvil_full", *tuned.SECTIONS])
def test_in_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch lets convolutions round to TF32 on CUDA, which is 1e-3 of a value.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    rows = FILES[name](device="cuda")
    if name in ("clipvil_full", "adapter_vis"):
        # BatchNorm's backward over these few pixels makes 1e-2 of what a GPU rounds differently.
        rows = [row for row in rows if "train/grad" not in row.quantity]
    assert rows and outside(rows) == []


@pytest.mark.parametrize("name", IN_FLOAT64)
def test_in_float64(name: str) -> None:
    rows = FILES[name](device="cuda", dtype=torch.float64)
    assert any("train/grad" in row.quantity for row in rows) and outside(rows) == []
