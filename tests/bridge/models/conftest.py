"""Models of MMF on the line that is installed, in a folder with what they read."""

import os

import pytest

from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.models.small import write_files


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with small files under the names that MMF's models ask for."""
    folder = tmp_path_factory.mktemp("models")
    write_files(folder)
    return folder


@pytest.fixture
def in_files(files, monkeypatch):
    """The folder, as the working directory, without a network."""
    monkeypatch.chdir(files)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    return files
