"""Patches of ``mmf.utils.configuration``, ``mmf.utils.env`` and ``mmf.utils.general``.

Reading yaml, options and ``env.user_dir``.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from omegaconf import ListConfig, OmegaConf
from yaml import YAMLError

from mmf_bridge.common.commandline import check_keys, check_option, decode_value, option_pairs
from mmf_bridge.common.device import check_device
from mmf_bridge.common.option_values import check_values
from mmf_bridge.common.plugins import (
    find_in_plugins,
    import_if_package,
    naming_user_dir,
    package_directory,
)
from mmf_bridge.common.registered import unknown
from mmf_bridge.common.replace import replace
from mmf_bridge.common.resolvers import register_resolver, silence_empty_defaults
from mmf_bridge.common.same_names import remember_model
from mmf_bridge.common.source import edited

# Keys that MMF main has, or that the bridge adds, with main's defaults.
NEWER_DEFAULTS: dict[str, Any] = {
    "training": {
        "precision": None,  # fp32 | bf16 | fp16
        "fp16": False,
        "compile": False,  # or true, or a section, see compiling.py
        "update_frequency": 1,
        "leftover_batches": "step",  # step | carry | drop, see run_length.py
        "detect_anomaly": False,
        "exit_on_nan_losses": True,
        "persistent_workers": False,
        "cudnn_benchmark": False,
        "max_grad_l2_norm": None,
        "trackers": {"use": [], "project": None, "name": None, "images": 8, "params": {}},
    },
    "evaluation": {
        "use_cpu": False,
        "untrained": False,  # score or predict with the weights that the model is built with
    },
    "env": {"overwrite": False},  # whether a training may replace the run in env.save_dir
    "checkpoint": {
        "max_to_keep": -1,
        "trust_pickle": None,  # path(s) of checkpoints whose pickled code may run
        "reset": {"fp16_scaler": False},
    },
}
_OPTIONAL_KEYS = ("config", "model", "dataset", "datasets")


def patch(module: ModuleType) -> None:
    """Let ``Configuration`` work on omegaconf 2.3+, and mean the same as on MMF main."""
    silence_empty_defaults()
    registry = module.registry

    class Configuration(module.Configuration):
        __doc__ = module.Configuration.__doc__

        def _build_default_config(self) -> Any:
            default = super()._build_default_config()
            return OmegaConf.merge({"learning_rate": None}, default)

        def _build_other_configs(self) -> Any:
            self._declared: list[Any] = []
            other_configs = super()._build_other_configs()
            declared = OmegaConf.merge(*self._declared)
            parts = (self._user_config, self._default_config, declared)
            check_keys(*(OmegaConf.to_container(OmegaConf.create(part)) for part in parts))
            return other_configs

        def _build_opt_list(self, opts: list[str] | None) -> Any:
            pairs = option_pairs(opts)
            # omegaconf raises on a missing key where MMF expects None.
            config = OmegaConf.create(dict.fromkeys(_OPTIONAL_KEYS))
            return OmegaConf.merge(config, OmegaConf.from_dotlist([f"{k}={v}" for k, v in pairs]))

        def _build_model_config(self, config: Any) -> Any:
            config = self._named(config, "model")
            from mmf.utils.env import setup_imports

            setup_imports()  # a Configuration of somebody's own may be the first thing of all
            _check_registered("model", config.model, registry.mapping["model_name_mapping"])
            remember_model(registry, config.model)
            self._declared.append(super()._build_model_config(config))
            return self._declared[-1]

        def _build_dataset_config(self, config: Any) -> Any:
            if config.dataset is None and config.datasets is None:
                config = self._named(config, "dataset", "datasets")
            for name in (config.datasets or config.dataset or "").split(","):
                _check_registered("dataset", name, registry.mapping["builder_name_mapping"])
            self._declared.append(super()._build_dataset_config(config))
            return self._declared[-1]

        def _named(self, config: Any, *keys: str) -> Any:
            """``config`` with ``keys`` taken from the yaml where the options don't name them."""
            named = config.copy()
            for key in keys:
                if named[key] is None and self._user_config.get(key):
                    value = self._user_config[key]
                    named[key] = value if isinstance(value, str) else ",".join(value)
            return named

        def _merge_with_dotlist(self, config: Any, opts: list[str] | None) -> Any:
            # In pairs, so that a value may hold "=" itself.
            pairs = [part for pair in option_pairs(opts) for part in pair]
            if config.get("dataset") and not config.get("datasets"):
                config.datasets = config.dataset
            for key, _ in option_pairs(opts):
                check_option(config, "datasets" if key == "dataset" else key)
            with contextlib.redirect_stdout(io.StringIO()):  # a line for each, on no logger
                return super()._merge_with_dotlist(config, pairs)

        def _update_specific(self, config: Any) -> Any:
            # Defaults built anew: main has merged the command line into its own.
            check_values(config, self._build_default_config())
            # "cuda" is MMF's default: without a GPU it is the CPU, unless somebody asked for it.
            parts = [getattr(self, "_opts_config", {})]
            if not self._names_defaults(OmegaConf.select(config, "config")):
                parts.append(getattr(self, "_user_config", {}))
            parts.append(self._build_demjson_config(getattr(self.args, "config_override", None)))
            if any(OmegaConf.select(OmegaConf.create(p), "training.device") for p in parts):
                check_device(str(config.training.device))
            elif not torch.cuda.is_available():
                config.training.device = "cpu"
            return super()._update_specific(config)

        def _names_defaults(self, path: str | None) -> bool:
            """Whether ``config=`` names MMF's own defaults, which nobody wrote for this run."""
            return bool(path) and _is_default_yaml(module, path)

        def _decode_value(self, value: Any) -> Any:
            return decode_value(value)

        def _register_resolvers(self) -> None:
            # Not clear_resolvers(): that wipes what plugins have registered.
            device_count = max(1, torch.cuda.device_count())
            resolvers = {
                "device_count": lambda: device_count,
                "resolve_cache_dir": module.resolve_cache_dir,
                "resolve_dir": module.resolve_dir,
                "env": _environment,
            }
            for name, resolver in resolvers.items():
                register_resolver(name, resolver)

    replace(module, Configuration)
    _patch_load_yaml(module)


def _check_registered(what: str, name: str | None, known: Mapping[str, Any]) -> None:
    if not name:
        raise ValueError(f"No {what} is named: give {what}=NAME, or name it in the yaml of config=")
    if name not in known:
        raise ValueError(unknown(what, name, known))


def _environment(name: str, default: str | None = None) -> str | None:
    """``${env:NAME,default}`` of omegaconf 2.0: an unset variable without default is an error."""
    if name not in os.environ and default is None:
        raise ValueError(f"The environment variable {name} is not set, and has no default")
    return os.environ.get(name, default)


_NO_LIST = (
    "includes is not a list of files: write each file on a line of its own that begins with '- '"
)


def _includes_others(path: str) -> bool:
    """Whether a yaml file has a text as its includes, which MMF takes for a list of letters, or
    a list of something other than texts.
    """
    found = OmegaConf.load(path).get("includes") if os.path.isfile(path) else None
    are_texts = isinstance(found, ListConfig) and all(isinstance(one, str) for one in found)
    return found is not None and not are_texts


def _is_default_yaml(module: ModuleType, path: str) -> bool:
    default = os.path.realpath(module.get_default_config_path())
    return os.path.realpath(module.get_absolute_path(path)) == default


class _MissingYamlError(FileNotFoundError):
    """A yaml file that is not there; the message says who names it."""


def _patch_load_yaml(module: ModuleType) -> None:
    stock = module.load_yaml

    def load_yaml(f: str) -> Any:
        """MMF's ``load_yaml``; files of installed plugins are found from any directory.

        MMF's own defaults get the newer keys: the trainer reads them of a configuration that
        somebody has put together without ``Configuration``, too.

        Raises:
            FileNotFoundError: neither MMF nor a plugin has the file.
            ValueError: it is not yaml, or includes something other than a list of files.
        """
        if not os.path.exists(f):
            f = find_in_plugins(f) or f
        try:
            found = stock(f)
            return OmegaConf.merge(NEWER_DEFAULTS, found) if _is_default_yaml(module, f) else found
        except (FileNotFoundError, IsADirectoryError) as e:
            if _includes_others(module.get_absolute_path(f)):
                raise ValueError(f"{f}: {_NO_LIST}") from e
            if isinstance(e, _MissingYamlError):
                raise _MissingYamlError(f"{e}; {f} includes it") from e
            raise _MissingYamlError(
                f"No configuration file {f}: it was looked for under {os.getcwd()}, MMF's own "
                "folder, env.user_dir and the installed plugins. Check the path of config= or of "
                "includes"
            ) from e
        except TypeError as e:
            if not _includes_others(module.get_absolute_path(f)):
                raise
            raise ValueError(f"{f}: {_NO_LIST}") from e
        except AttributeError as e:
            if not str(e).startswith("Includes must be a list"):
                raise
            raise ValueError(f"{f}: {_NO_LIST}") from e
        except YAMLError as e:
            raise ValueError(f"{f} is not yaml: {e}") from e
        except RecursionError as e:
            raise ValueError(f"{f} includes itself, or is nested too deeply") from e

    module.load_yaml = load_yaml


def patch_env(module: ModuleType) -> None:
    """Let ``env.user_dir`` be the dotted name of an installed package, as on MMF main."""
    stock = module.import_user_module

    def import_user_module(user_dir: str, no_print: bool = False) -> None:
        with naming_user_dir(user_dir):
            if user_dir and import_if_package(user_dir):
                return
            stock(user_dir.rstrip("/") if user_dir else user_dir, no_print)

    module.import_user_module = import_user_module
    take_seed_zero(module)


def take_seed_zero(module: ModuleType) -> None:
    """Let MMF's ``set_seed`` take 0 for a seed like any other."""
    module.set_seed = edited(module.set_seed, {"if seed:": "if seed is not None:"})


def patch_general(module: ModuleType) -> None:
    """Look files up in a dotted ``env.user_dir``, and divide the batch exactly."""
    stock = module.get_absolute_path

    def get_absolute_path(paths: Any) -> Any:
        found = stock(paths)
        if isinstance(paths, str) and found == paths and not os.path.exists(paths):
            from mmf.utils.configuration import get_mmf_env

            folder = package_directory(get_mmf_env(key="user_dir") or "")
            if folder and (folder / paths).exists():
                return str(folder / paths)
        return found

    module.get_absolute_path = get_absolute_path
