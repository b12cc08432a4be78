"""Patch of ``mmf.common.registry``: datasets of one name, each for the models that it suits."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

from mmf_bridge.common.names import import_for, is_of_mmf
from mmf_bridge.protocols import SuitsModels

logger = logging.getLogger(__name__)

_MODEL = "model_of_the_run"
_REPLACED = "replaced_builders"


def patch(module: ModuleType) -> None:
    """Keep the builders that others replace, and choose by the model of the run."""
    Registry = module.Registry  # noqa: N806 (a class)
    stock = Registry.register_builder
    builders = Registry.mapping["builder_name_mapping"]
    replaced = Registry.mapping.setdefault(_REPLACED, {})

    def register_builder(cls: Any, name: str) -> Any:
        register = stock(name)

        def keep_and_register(builder: Any) -> Any:
            former = dict.get(builders, name)  # which imports nothing
            register(builder)
            if former not in (None, builder):
                if is_of_mmf(builder) and not is_of_mmf(former):  # a plugin imported before MMF's
                    former = builder
                replaced.setdefault(name, []).append(former)
            return builder

        return keep_and_register

    def get_builder_class(cls: Any, name: str) -> Any:
        newest, model = builders.get(name), _model(cls)
        if isinstance(newest, SuitsModels):
            import_for("builder", name)  # MMF's own of that name
        for builder in (newest, *reversed(replaced.get(name, []))) if model else ():
            if not isinstance(builder, SuitsModels) or builder.suits(model):
                return builder
        return newest

    Registry.register_builder = classmethod(register_builder)
    Registry.get_builder_class = classmethod(get_builder_class)


def remember_model(registry: Any, name: str) -> None:
    """Say which model the run has: the configuration reads the datasets' defaults after it."""
    registry.register(_MODEL, name)


def log_choices(registry: Any, datasets: str) -> None:
    """Say which dataset a run takes where a plugin's has the name of one of MMF's."""
    for name in datasets.split(","):
        taken = registry.get_builder_class(name)
        newest = registry.mapping["builder_name_mapping"].get(name)
        others = [*registry.mapping[_REPLACED].get(name, []), newest]
        if isinstance(newest, SuitsModels) and len(others) > 1:
            passed = ", ".join(_full_name(other) for other in others if other is not taken)
            logger.info(f"Dataset {name}: {_full_name(taken)}, which suits the model, not {passed}")


def _full_name(builder: type) -> str:
    return f"{builder.__module__}.{builder.__name__}"


def _model(registry: Any) -> type | None:
    """The class of the run's model; None outside of a run."""
    state = registry.mapping["state"]
    # A spawned process has no registry entry of the configuration's reading, but its result.
    config = state.get("config")
    name = state.get(_MODEL) or (config.get("model") if config is not None else None)
    return registry.get_model_class(name) if name else None
