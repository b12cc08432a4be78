"""Names that stand in no registry of MMF's: ``mmf.utils.build`` gives one clear error for each."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from types import ModuleType
from typing import Any

from mmf_bridge.common.near import did_you_mean
from mmf_bridge.common.user_errors import is_for_users


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
            torchs = _torch_optimizers() if kind == "optimizer" else {}
            # MMF has a scheduler for a section that names none.
            is_needed = kind != "scheduler" or "type" in (args[1].get(kind) or {})
            # Not in one list: whoever lists the registry's names imports all of MMF.
            is_known = isinstance(name, str) and (name in torchs or name in known)
            if is_needed and not is_known:
                raise ValueError(unknown(what, name, [*torchs, *known]))
            if name is None or kind == "trainer":
                return build(*args, **kwargs)
            params, where = args[1].get(kind).get("params"), f"{kind}.params"
            _check_params(where, torchs.get(name) or known[name], params)
            try:
                return build(*args, **kwargs)
            except (TypeError, ValueError) as error:
                if is_for_users(error):
                    raise
                raise ValueError(f"{where}: {name} does not take {params} ({error})") from error

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


def _check_params(where: str, builds: Callable[..., Any], params: Any) -> None:
    """Check the arguments that a configuration gives by the signature of what takes them.

    Raises:
        ValueError: they are no section, there is no such argument, or it has to be a number.
    """
    if params is None:
        return
    if not isinstance(params, Mapping):
        raise ValueError(f"{where} is {params}: expected a section of arguments")
    known = inspect.signature(builds).parameters
    takes_others = any(one.kind is one.VAR_KEYWORD for one in known.values())
    for key, value in params.items():
        if key not in known:
            if takes_others:
                continue
            raise ValueError(
                f"{where}.{key}: there is no such argument.{did_you_mean(key, known)} "
                f"{builds.__name__} takes {', '.join(known)}"
            )
        default = known[key].default
        if _is_number(default) and not _is_number(value):
            raise ValueError(
                f"{where}.{key} is {value!r:.80}: expected a number, such as {default}"
            )
        if isinstance(default, tuple) and all(map(_is_number, default)):
            given = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
            if len(given) != len(default) or not all(map(_is_number, given)):
                raise ValueError(
                    f"{where}.{key} is {value!s:.80}: expected {len(default)} numbers, such as "
                    f"{list(default)}"
                )


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _torch_optimizers() -> dict[str, type]:
    from torch import optim

    classes = {name: value for name, value in vars(optim).items() if isinstance(value, type)}
    classes.pop("Optimizer")
    return classes
