"""``--user-dir``: the package of one's own whose components a command is to know."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from clipvil_mmf.user_dir import import_user_dir

_OPTION = inspect.Parameter(
    "user_dir",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        str | None,
        typer.Option(help="Your own package of components, a folder or a module: env.user_dir."),
    ],
)


def with_user_dir(command: Callable[..., None]) -> Callable[..., None]:
    """A typer command with the option ``--user-dir`` beside its own."""

    @wraps(command)
    def with_option(user_dir: str | None = None, **options: Any) -> None:
        if user_dir is not None:
            import_user_dir(user_dir)
        command(**options)

    # typer reads the signature, and so do those who resolve annotations.
    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters.values()
    parameters = [*(option.replace(annotation=hints[option.name]) for option in own), _OPTION]
    with_option.__signature__ = inspect.Signature(parameters)
    with_option.__annotations__ = {option.name: option.annotation for option in parameters}
    return with_option
