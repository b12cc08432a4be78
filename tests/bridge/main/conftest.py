"""Tests with MMF from GitHub main; skipped where another MMF is installed.

Run them in an environment made as docs/mmf-main.md says: ``pytest tests/bridge/main``.
"""

import importlib
import sys
from pathlib import Path

import pytest

from mmf_bridge.line import detect

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    if detect() == "main":
        return
    reason = "MMF main is not installed (docs/mmf-main.md says how); this is the other line"
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def mmf():
    """MMF with its patches, as the installation's .pth brings it.

    pytest's own import hook takes every ``test_*.py`` for a test file, mmf/common/test_reporter.py
    too, so it stands aside while MMF is imported.
    """
    hooks = [hook for hook in sys.meta_path if type(hook).__module__.startswith("_pytest")]
    for hook in hooks:
        sys.meta_path.remove(hook)
    importlib.import_module("tests.bridge.warm")
    sys.meta_path[:0] = hooks
