"""MessagePack: plain values of bytes. Nothing is run; extension types are refused.

Source: the specification, https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

from __future__ import annotations

import struct
from typing import Any

_DEEPEST = 100
# First byte -> (format of the number that follows, what is read with it).
_NUMBERS = {
    **dict(zip(range(0xCA, 0xCC), ("f", "d"), strict=True)),
    **dict(zip(range(0xCC, 0xD4), ("B", "H", "I", "Q", "b", "h", "i", "q"), strict=True)),
}
_LENGTHS = {
    **{0xC4 + i: ("bytes", form) for i, form in enumerate("BHI")},
    **{0xD9 + i: ("text", form) for i, form in enumerate("BHI")},
    **{0xDC + i: ("list", form) for i, form in enumerate("HI")},
    **{0xDE + i: ("map", form) for i, form in enumerate("HI")},
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def unpack(content: bytes) -> Any:
    """The one value that the bytes hold; a ``ValueError`` where they are something else."""
    reader = _Reader(content)
    value = reader.value(0)
    if reader.at != len(content):
        raise ValueError(f"{len(content) - reader.at} bytes are left over")
    return value


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        kind = self._number("B")
        if kind < 0x80:
            return kind
        if kind < 0x90:
            return self._sized("map", kind - 0x80, depth)
        if kind < 0xA0:
            return self._sized("list", kind - 0x90, depth)
        if kind < 0xC0:
            return self._sized("text", kind - 0xA0, depth)
        if kind >= 0xE0:
            return kind - 0x100
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind not in _LENGTHS:
            raise ValueError(f"it has a value of type 0x{kind:x}, which is not a plain one")
        what, form = _LENGTHS[kind]
        return self._sized(what, self._number(form), depth)

    def _sized(self, what: str, size: int, depth: int) -> Any:
        if what == "list":
            return [self.value(depth + 1) for _ in range(size)]
        if what == "map":
            found = {}
            for _ in range(size):
                key = self.value(depth + 1)
                if not isinstance(key, (str, int, bytes)):
                    raise ValueError(f"a map has the key {key!r}")
                found[key] = self.value(depth + 1)
            return found
        taken = self._take(size)
        return taken if what == "bytes" else taken.decode()

    def _number(self, form: str) -> Any:
        return struct.unpack(f">{form}", self._take(struct.calcsize(f">{form}")))[0]

    def _take(self, size: int) -> bytes:
        if self.at + size > len(self._content):
            raise ValueError("it ends too early")
        self.at += size
        return self._content[self.at - size : self.at]
