"""What every process of these tests has imported before it starts."""

import mmf_bridge.finder

mmf_bridge.finder.install()

import mmf_cli.run  # noqa: E402
from mmf.utils.env import setup_imports  # noqa: E402

setup_imports()
mmf_cli.run.registry.mapping["state"].pop("imports_setup")
