"""Patches of ``mmf.utils.configuration`` and ``mmf.utils.env`` where main differs from rc7."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from mmf_bridge.common import configuration as shared
from mmf_bridge.common.commandline import check_option, decode_value, option_pairs
from mmf_bridge.common.plugins import import_if_package, naming_user_dir, package_directory
from mmf_bridge.common.replace import replace
from mmf_bridge.common.resolvers import silence_empty_defaults


def patch(module: ModuleType) -> None:
    """What rc7's ``Configuration`` gets, and main's two functions for command-line options."""
    silence_empty_defaults()
    shared.patch(module)

    class Configuration(module.Configuration):
        __doc__ = module.Configuration.__doc__

        def _build_default_config(self) -> Any:
            default = super()._build_default_config()
            # rc7 reads it always; main would overwrite the optimizer's with this null.
            default.pop("learning_rate", None)
            return default

    stock = module._merge_with_dotlist

    def _merge_with_dotlist(
        config: Any, opts: list[str] | None, skip_missing: bool = False, log_info: bool = True
    ) -> Any:
        pairs = option_pairs(opts)
        if not skip_missing:  # the second pass, over the complete configuration
            if config.get("dataset") and not config.get("datasets"):
                config.datasets = config.dataset
            for key, _ in pairs:
                check_option(config, "datasets" if key == "dataset" else key)
        # In pairs, so that a value may hold "=" itself.
        flat = [part for pair in pairs for part in pair]
        return stock(config, flat, skip_missing, log_info)

    replace(module, Configuration, _merge_with_dotlist)
    module._decode_value = decode_value


def patch_env(module: ModuleType) -> None:
    """Take ``env.user_dir`` as ``./plugin``, ``../plugin`` and ``plugin/`` too; 0 is a seed."""
    stock = module.import_user_module

    def import_user_module(user_dir: str | None) -> None:
        with naming_user_dir(user_dir):
            if user_dir and os.path.exists(user_dir):
                # Stock MMF takes the last part of an absolute path for a module's name.
                if not os.path.isabs(user_dir) or os.path.basename(user_dir) in ("", ".", ".."):
                    user_dir = os.path.normpath(user_dir)
                # A relative one that Python does not find as a package is a folder.
                if package_directory(user_dir.replace(os.sep, ".")) is None:
                    user_dir = os.path.join(os.getcwd(), user_dir)
            stock(user_dir)
            if user_dir:
                import_if_package(user_dir)  # one imported before MMF registers itself now

    replace(module, import_user_module)
    shared.take_seed_zero(module)
