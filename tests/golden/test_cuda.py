"""The golden numbers, recorded on a CPU, come out on a GPU as well."""

from __future__ import annotations

import pytest
import torch

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
