"""Names that stand in no registry of MMF's."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is in no registry: nearest match, choices, what to do."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return (
        f"No {what} named {name!r} is registered; {hint}registered: {', '.join(sorted(known))}. "
        "A plugin's names need env.user_dir (or MMF_USER_DIR) to name the plugin"
    )


def with_known_type(
    build: Callable[..., Any], section: str, known: Callable[[], Iterable[str]]
) -> Callable[..., Any]:
    """MMF's ``build(thing, config)`` of what ``config.<section>.type`` names, with that message.

    Args:
        build: ``build_optimizer`` or ``build_scheduler``.
        section: of the configuration.
        known: gives the names that there are; plugins may have added some by then.
    """

    def checked(thing: Any, config: Any) -> Any:
        name = (config.get(section) or {}).get("type", None)
        if name is not None and name not in set(known()):
            raise ValueError(unknown(f"{section}.type", name, known()))
        return build(thing, config)

    checked.__name__ = build.__name__
    return checked


def optimizer_names(registered: Iterable[str]) -> list[str]:
    """What ``optimizer.type`` may name: torch's optimizers, and those registered with MMF."""
    from torch import optim

    classes = [name for name, value in vars(optim).items() if isinstance(value, type)]
    return [name for name in classes if name != "Optimizer"] + list(registered)
