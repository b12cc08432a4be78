"""Tests with MMF 1.0.0rc7, the line that PyPI has; skipped where another MMF is installed."""

from pathlib import Path

import pytest

from mmf_bridge.line import detect
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    if detect() == "rc7":
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="MMF 1.0.0rc7 is not installed"))


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    """Files need not outlive a power cut here, and nobody waits for workers that are left over."""
    monkeypatch.setattr("os.fsync", lambda file: None)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
