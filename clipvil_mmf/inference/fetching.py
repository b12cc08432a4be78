"""Images by their address on the web: with a time limit, and a limit of size."""

from __future__ import annotations

import time

LARGEST = 64 * 2**20  # bytes
# Seconds: for the connection and between two parts of an answer, and for all of it.
SILENCE, PATIENCE = 10, 60


class FetchError(ValueError):
    """What an address names could not be fetched; the message says why."""


def is_url(text: str) -> bool:
    """Whether a text is an address and not the path of a file."""
    return "://" in text


def fetch(url: str) -> bytes:
    """What an address (http or https) names, at most ``LARGEST`` bytes; a ``FetchError`` else."""
    scheme = url.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise FetchError(f"its scheme is {scheme}; expected http or https")
    # Imported here: most images are files.
    import requests

    until = time.monotonic() + PATIENCE
    try:
        with requests.get(url, stream=True, timeout=SILENCE) as answer:
            if not answer.ok:
                raise FetchError(f"the server answers {answer.status_code} {answer.reason}")
            return _content(answer, until)
    except requests.Timeout as error:
        raise FetchError(f"the server was silent for {SILENCE} seconds") from error
    except requests.RequestException as error:
        raise FetchError(f"{type(error).__name__}: {error}") from error


def _content(answer: object, until: float) -> bytes:
    """The body of an answer; its length is counted, as what a server says of it may be wrong."""
    content = bytearray()
    for part in answer.iter_content(2**16):
        content += part
        if len(content) > LARGEST:
            raise FetchError(f"it has more than {LARGEST / 2**20:g} MiB")
        if time.monotonic() > until:
            raise FetchError(f"it was not here after {PATIENCE} seconds")
    return bytes(content)
