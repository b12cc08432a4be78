"""A hub of the tests' own, and a home without an account."""

import pytest
from huggingface_hub import constants

from tests.checkpoints.conftest import publish  # noqa: F401 (a fixture)
from tests.sharing.hub_server import TOKEN, serving
from tests.test_hub import imported, model  # noqa: F401 (fixtures)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub that huggingface_hub talks to in this process; nobody is logged in."""

    with serving() as hub:
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield hub


@pytest.fixture
def account(hub, monkeypatch):
    """Somebody is logged in, who may write."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub
