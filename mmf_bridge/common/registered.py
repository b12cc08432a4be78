"""Names that stand in no registry of MMF's: ``mmf.utils.build`` gives one clear error for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from types import ModuleType
from typing import Any

from mmf_bridge.common.near import did_you_mean


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is in no registry: nearest match, choices, what to do."""
    return (
        f"No {what} named {name!r} is registered.{did_you_mean(name, known)} "
        f"Registered: {', '.join(sorted(known))}. A plugin's names need "
        "env.user_dir (or MMF_USER_DIR) to name the plugin"
    )


def patch(module: ModuleType) -> None:
    """Let the functions of ``mmf.utils.build`` look the name up before they build."""
    mapping = module.registry.mapping

    def check_first(kind: str, what: str, name_of: Callable[..., Any]) -> None:
        build = getattr(module, f"build_{kind}")

        @wraps(build)
        def checked(*args: Any, **kwargs: Any) -> Any:
            # Plugins may have added some by now.
            known, name = mapping[f"{kind}_name_mapping"], name_of(*args)
            torchs = _torch_optimizers() if kind == "optimizer" else []
            is_needed = name is not None or kind == "trainer"
            # Not in one list: whoever lists the registry's names imports all of MMF.
            if is_needed and name not in torchs and name not in known:
                raise ValueError(unknown(what, name, [*torchs, *known]))
            return build(*args, **kwargs)

        setattr(module, f"build_{kind}", checked)

    # Models and datasets are looked up with the configuration.
    check_first("trainer", "training.trainer", _trainer)
    for section in ("optimizer", "scheduler"):
        check_first(section, f"{section}.type", _type_in(section))


def _trainer(configuration: Any, *_: Any) -> str:
    """Of main's configuration, or of the object that rc7 has around it."""
    config = configuration.get_config() if hasattr(configuration, "get_config") else configuration
    return config.training.trainer


def _type_in(section: str) -> Callable[..., str | None]:
    return lambda _, config: (config.get(section) or {}).get("type", None)


def _torch_optimizers() -> list[str]:
    from torch import optim

    classes = [name for name, value in vars(optim).items() if isinstance(value, type)]
    return [name for name in classes if name != "Optimizer"]
