"""The addresses that pages and servers of this package listen on."""

from __future__ import annotations

import socket


def listen(host: str, port: int, backlog: int = 1) -> socket.socket:
    """A socket that listens there.

    Args:
        host: an address of this machine, or its name.
        port: 0 for a free one.
        backlog: connections that wait, at most.

    Raises:
        OSError: the address cannot be had; the message names the options of a command.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except (OSError, TypeError) as error:  # the latter: no machine can be called so
        why = getattr(error, "strerror", None) or error
        raise OSError(f"--host {host} --port {port}: {why}") from error
