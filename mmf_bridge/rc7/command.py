"""Patches of ``mmf_cli.run``: main's ``run(opts=...)``, and rc7's log."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mmf_bridge.common import launch


def patch(module: ModuleType) -> None:
    """What both lines get."""

    def begin(configuration: Any) -> Any:
        config = configuration.get_config()
        writer = module.Logger(config, name="mmf.train")
        module.registry.register("writer", writer)
        writer.write(configuration.args)
        writer.write(f"Using seed {config.training.seed}")
        return module.build_trainer(configuration)

    launch.patch(module, begin)
