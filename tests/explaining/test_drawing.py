"""Maps over photos."""

from __future__ import annotations

import numpy as np
from PIL import Image

from clipvil_mmf.explaining.drawing import overlay, side_by_side
from tests.explaining.asked import solid


def test_brightest_where_the_map_is_largest() -> None:
    values = np.zeros((40, 60), np.float32)
    values[10, 50] = 0.2
    values[30, 5] = 0.1
    drawn = np.asarray(overlay(solid(60, 40), values).convert("L")).astype(int)
    assert drawn.shape == (40, 60)
    assert drawn.argmax() == 10 * 60 + 50
    assert drawn[0, 0] < drawn[30, 5] < drawn[10, 50]


def test_an_empty_map_changes_nothing() -> None:
    photo = solid(6, 4)
    assert overlay(photo, np.zeros((4, 6), np.float32)).tobytes() == photo.tobytes()


def test_several() -> None:
    assert side_by_side([solid(6, 4), solid(3, 9)]).size == (9, 9)
    one = Image.new("RGB", (2, 2))
    assert side_by_side([one]) is one
