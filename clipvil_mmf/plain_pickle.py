"""Pickles of strangers: read as plain containers, numbers, strings and arrays, running nothing.

Python's own unpickler runs whatever a pickle names, believes its lengths, and fills numpy's arrays
without looking at how much is there, which ends in a crash of the process. Here the operations are
gone through first, then names are looked up among a few, and arrays are built after a check.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

_LINE = pickletools.UP_TO_NEWLINE
# Lengths that stand before what they speak of -> their bytes.
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_UNKNOWN, _TWO_LINES, _NUMBERED, _NUMBERED_LINE, _END = -101, -102, -103, -104, -105
_KNOWN = {
    **{ord(known.code): 0 if known.arg is None else known.arg.n for known in pickletools.opcodes},
    pickle.GLOBAL[0]: _TWO_LINES,
    pickle.INST[0]: _TWO_LINES,
    pickle.LONG_BINPUT[0]: _NUMBERED,
    pickle.PUT[0]: _NUMBERED_LINE,
    pickle.STOP[0]: _END,
    pickle.LONG4[0]: _UNKNOWN,  # numbers of more than 255 bytes
}
# Of each operation: how many bytes follow it, or one of the above, which says how to find that.
_FOLLOWING = [_KNOWN.get(code, _UNKNOWN) for code in range(256)]
_PART = 1 << 20  # bytes between two calls of `progress`

_NUMBERS_AND_TEXT = re.compile(r"[biufcSU]\d{1,9}")


Progress = Callable[[int], None]


def _unseen(count: int) -> None:
    """Progress that nobody looks at."""


class PlainUnpickler(pickle.Unpickler):
    """Reads a pickle; of the names in it, it knows those of numpy's arrays and of sets.

    Args:
        content: the whole pickle.
        progress: called with the number of bytes just gone through.

    Raises:
        pickle.UnpicklingError: the pickle is cut short, or its lengths cannot be right.
    """

    def __init__(self, content: bytes, progress: Progress = _unseen) -> None:
        check_operations(content, progress)
        # Buffered, for it is then read in blocks instead of byte by byte.
        super().__init__(io.BufferedReader(io.BytesIO(content)))  # type: ignore[arg-type]

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; a method, as a pickle could change attributes of a function."""
        # Modules have other names in old pickles.
        module = "builtins" if module == "__builtin__" else module
        module = module.replace("numpy._core.", "numpy.core.")
        made = {
            "numpy.ndarray": "ndarray",  # an argument of _reconstruct, never called
            "numpy.dtype": self._dtype,
            "numpy.core.multiarray._reconstruct": self._array,
            "numpy.core.multiarray.scalar": self._scalar,
            "builtins.set": self._set,
            "builtins.frozenset": self._frozenset,
            "builtins.bytes": self._no_bytes,
            "collections.OrderedDict": OrderedDict,
            "_codecs.encode": self._encode,
        }.get(f"{module}.{name}")
        if made is None:
            raise pickle.UnpicklingError(f"it wants to use {module}.{name}")
        return made

    def _array(self, *_: Any) -> _Array:
        return _Array(0, dtype=np.int8)

    def _dtype(self, code: Any, *_: Any) -> _Dtype:
        return _Dtype(code)

    def _scalar(self, dtype: Any, content: Any) -> np.generic:
        array = self._array()
        array.__setstate__((1, (1,), dtype, False, content))
        return array[0]

    def _set(self, items: Any) -> set[Any]:
        # Items that stand in the pickle, not such as a range makes.
        if type(items) not in (list, tuple):
            raise pickle.UnpicklingError(f"it makes a set of a {type(items).__name__}")
        return set(items)

    def _frozenset(self, items: Any) -> frozenset[Any]:
        return frozenset(self._set(items))

    def _no_bytes(self) -> bytes:
        return b""

    def _encode(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"it wants to use the encoding {encoding!r}")
        return text.encode("latin-1")


def load_npy(path: str | os.PathLike[str], progress: Progress = _unseen) -> Any:
    """Read an npy file; one of objects without running its code.

    Raises:
        ValueError: it is not an npy file.
        pickle.UnpicklingError: its objects are not plain.
        Exception: what else half-read bytes lead to.
    """
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"npy version {version}")
        _, _, dtype = getattr(np.lib.format, f"read_array_header_{version[0]}_0")(file)
        if dtype.hasobject:
            return PlainUnpickler(file.read(), progress).load()
        file.seek(0)
        return np.load(file, allow_pickle=False)


def check_operations(content: bytes, progress: Progress) -> None:
    """Go through a pickle's operations: what each says of lengths has to fit into the pickle.

    Python's unpickler takes as much memory as a pickle asks for: a damaged byte may ask for 64 GB.

    Raises:
        pickle.UnpicklingError: it is cut short, or its lengths cannot be right.
    """
    place, end = 0, len(content)
    while place < end:
        start = place
        while place < min(start + _PART, end):
            count = _FOLLOWING[content[place]]
            place += 1
            if count >= 0:
                place += count
            elif count in _LENGTHS:
                width = _LENGTHS[count]
                place += width + int.from_bytes(content[place : place + width], "little")
            elif count == _NUMBERED:
                _check_number(int.from_bytes(content[place : place + 4], "little"), place)
                place += 4
            elif count == _LINE:
                place = content.index(b"\n", place) + 1
            elif count == _TWO_LINES:
                place = content.index(b"\n", content.index(b"\n", place) + 1) + 1
            elif count == _NUMBERED_LINE:
                line = content.index(b"\n", place)
                _check_number(int(content[place:line]), place)
                place = line + 1
            elif count == _END:
                progress(place - start)
                return
            else:
                raise pickle.UnpicklingError(f"it has the operation {content[place - 1]}")
        progress(min(place, end) - start)
    raise pickle.UnpicklingError("it is cut short")


def _check_number(number: int, place: int) -> None:
    """Objects are numbered one after the other (some leave numbers out) and take 4 bytes each."""
    if number > 1000 + place // 4:
        raise pickle.UnpicklingError("its objects are numbered wrongly")


class _Dtype:
    """The type of an array's items, as its pickle describes it."""

    def __init__(self, code: Any) -> None:
        self._code, self._order = code, "="

    def __setstate__(self, state: Any) -> None:
        self._order = state[1]

    def checked(self) -> np.dtype:
        """The type, which is of numbers, strings or objects alone."""
        if self._code in ("O", "O8"):
            return np.dtype(object)
        if not isinstance(self._code, str) or not _NUMBERS_AND_TEXT.fullmatch(self._code):
            raise pickle.UnpicklingError(f"it has an array of {self._code!r}")
        if self._order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it has the byte order {self._order!r}")
        return np.dtype(self._order + self._code)


class _Array(np.ndarray):
    """An array that is empty until its state has been checked."""

    def __setstate__(self, state: Any) -> None:
        _, shape, described, by_columns, content = state
        if not isinstance(described, _Dtype):
            raise pickle.UnpicklingError("it has an array of an unknown type")
        if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
            raise pickle.UnpicklingError(f"it has an array of shape {shape!r}")
        dtype = described.checked()
        if isinstance(content, str) and not dtype.hasobject:  # as Python 2 wrote bytes
            content = content.encode("latin-1")
        if not isinstance(content, list if dtype.hasobject else bytes):
            raise pickle.UnpicklingError(f"it has an array with a {type(content).__name__} in it")
        expected = math.prod(shape) * (1 if dtype.hasobject else dtype.itemsize)
        if len(content) != expected or dtype.itemsize == 0:
            raise pickle.UnpicklingError(
                f"it has an array of shape {shape} whose content does not fit"
            )
        super().__setstate__((1, shape, dtype, bool(by_columns), content))
        if dtype.kind == "U":
            self.tolist()  # raises for what is not a character
