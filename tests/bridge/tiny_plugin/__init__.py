"""A plugin for tests of the bridge: a linear model on random vectors, in a second a run.

Works on both lines as ``env.user_dir: tests.bridge.tiny_plugin``; see ``tiny.yaml``.
"""

import sys

if "mmf" in sys.modules:
    from tests.bridge.tiny_plugin import dataset, model  # noqa: F401
