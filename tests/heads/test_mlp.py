"""The answer head, written out."""

from __future__ import annotations

import math

import pytest
import torch

from clipvil_mmf.config import ConfigError
from clipvil_mmf.heads import build_head


def test_formula_and_default_width() -> None:
    head = build_head({"type": "mlp"}, in_features=8, num_labels=5)
    assert head.hidden.out_features == 16 and head.norm.eps == 1e-12
    pooled = torch.randn(3, 8) * 20
    hidden = head.hidden(pooled)
    hidden = hidden * 0.5 * (1.0 + torch.erf(hidden / math.sqrt(2.0)))
    hidden = (hidden - hidden.mean(-1, keepdim=True)) / hidden.std(-1, correction=0, keepdim=True)
    torch.testing.assert_close(head(pooled), head.output(hidden), atol=1e-4, rtol=1e-3)


def test_width_is_configurable() -> None:
    head = build_head({"type": "mlp", "params": {"hidden_size": 7}}, 8, 5)
    assert head(torch.zeros(2, 8)).shape == (2, 5) and head.hidden.out_features == 7


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"classifier\.type: .*Choices: mlp"):
        build_head({"type": "mpl"}, 8, 5)
    with pytest.raises(ConfigError, match=r"classifier\.params\.hidden_size: got 0"):
        build_head({"type": "mlp", "params": {"hidden_size": 0}}, 8, 5)
