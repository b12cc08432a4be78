"""What every process of these tests has imported before it starts."""

import mmf_bridge.finder

mmf_bridge.finder.install()

import mmf_cli.run  # noqa: E402
import open_clip  # noqa: E402, F401 (most of what the plugin of this repository imports)
import pyarrow.ipc  # noqa: E402, F401
import torch._dynamo  # noqa: E402, F401 (torch's optimizers import it)
import transformers.optimization  # noqa: E402, F401

from mmf_bridge.common.names import import_all  # noqa: E402

import_all()
mmf_cli.run.registry.mapping["state"].pop("imports_setup")
