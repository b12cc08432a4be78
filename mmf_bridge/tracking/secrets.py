"""A configuration as it may be shown to others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
# Words of a key's name, between underscores.
_WORDS = re.compile(
    r"(?:^|_)(?:password|passwd|secret|secrets|token|credential|credentials|apikey|api_key|"
    r"access_key|private_key|auth)(?:$|_)",
    re.IGNORECASE,
)
_USER_OF_URL = re.compile(r"(?<=://)[^/@\s]+@")
# The parts of addresses that are signed.
_QUERY = re.compile(r"(?<=[?&])([^=&\s]*(?:token|signature|key|secret)[^=&\s]*)=[^&\s]+", re.I)


def is_secret(name: str) -> bool:
    """Whether a key or a variable of that name holds a password, a token or the like."""
    return _WORDS.search(name) is not None


def without_secrets(value: Any, name: str = "") -> Any:
    """A copy without passwords, tokens and keys: by the names of keys, and in addresses."""
    if isinstance(value, Mapping):
        return {str(key): without_secrets(inside, str(key)) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(inside, name) for inside in value]
    if isinstance(value, str):
        if value and is_secret(name):
            return HIDDEN
        return _QUERY.sub(rf"\1={HIDDEN}", _USER_OF_URL.sub(f"{HIDDEN}@", value))
    return value
