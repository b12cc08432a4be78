"""Names that stand in no registry of MMF's: ``mmf.utils.build`` gives one clear error for each."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is in no registry: nearest match, choices, what to do."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return (
        f"No {what} named {name!r} is registered; {hint}registered: {', '.join(sorted(known))}. "
        "A plugin's names need env.user_dir (or MMF_USER_DIR) to name the plugin"
    )


def patch(module: ModuleType) -> None:
    """Let the functions of ``mmf.utils.build`` look the name up before they build."""
    mapping = module.registry.mapping

    def check_first(function: str, what: str, kind: str, name_of: Callable[..., Any]) -> None:
        build = getattr(module, function)

        def checked(*args: Any, **kwargs: Any) -> Any:
            # Plugins may have added some by now.
            known, name = mapping[f"{kind}_name_mapping"], name_of(*args)
            known = _torch_optimizers() + list(known) if kind == "optimizer" else known
            if name is not None and name not in known:
                raise ValueError(unknown(what, name, known))
            return build(*args, **kwargs)

        checked.__name__ = function
        setattr(module, function, checked)

    dataset = "build_datamodule" if hasattr(module, "build_datamodule") else "build_dataset"
    check_first("build_model", "model", "model", lambda config, *_: config.model)
    check_first("build_trainer", "training.trainer", "trainer", _trainer)
    check_first(dataset, "dataset", "builder", lambda key, *_: key)
    for section in ("optimizer", "scheduler"):
        check_first(f"build_{section}", f"{section}.type", section, _type_in(section))


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
