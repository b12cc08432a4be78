"""Tests that hold on both lines of MMF alike, run with the one that is installed."""

import pytest

from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    """Files need not outlive a power cut here, and nobody waits for workers that are left over."""
    monkeypatch.setattr("os.fsync", lambda file: None)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)


@pytest.fixture
def at_pass(monkeypatch):
    """A function that does something in the given forward pass of the tiny model."""
    from tests.bridge.tiny_plugin.model import Tiny

    stock = Tiny.forward

    def arrange(number, do, training=True):
        left = [number]

        def forward(self, sample_list):
            if self.training is training:
                left[0] -= 1
                if left[0] == 0:
                    do()
            return stock(self, sample_list)

        monkeypatch.setattr(Tiny, "forward", forward)

    yield arrange
