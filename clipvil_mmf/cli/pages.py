"""The options of commands that are asked on a port."""

from __future__ import annotations

import socket
from typing import Annotated

import typer

HostOption = Annotated[
    str, typer.Option(help="0.0.0.0 lets other machines in; there is no password.")
]
ThresholdOption = Annotated[
    float, typer.Option(help="Confidence below which it does not answer.", min=0, max=1)
]


def check_address(host: str, port: int) -> None:
    """Raise ``OSError``, which names both options, unless a server can have this address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, TypeError) as error:  # the latter: no machine can be called so
        why = getattr(error, "strerror", None) or error
        raise OSError(f"--host {host} --port {port}: {why}. Give others") from error
