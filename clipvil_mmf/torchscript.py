"""The state dict of a TorchScript archive, as OpenAI's CLIP files are, without running its code.

``torch.jit.load`` runs an archive's ``__setstate__``, which may write files. The tensors stand in
``data.pkl``: objects of the archive's own classes, as their attributes, and the storages in
``data/``. ``code/`` says which classes are modules, and which of their attributes are parameters
and buffers.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipvil_mmf.plain_pickle import PlainUnpickler
from mmf_bridge.common.weight_formats import opened_zip

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
_LONGEST_CODE = 1 << 24  # bytes; OpenAI's have less than a thousandth of it
_MOST_MODULES = 100_000


class TorchScriptError(ValueError):
    """An archive that cannot be read without running its code, or that is damaged."""


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """Read the parameters and buffers of an archive that ``torch.jit.save`` wrote.

    Names, values and dtypes are those of ``torch.jit.load(path).state_dict()``; as there, buffers
    that were declared non-persistent are among them.

    Returns:
        Names -> CPU tensors.

    Raises:
        TorchScriptError: a module brings code that makes its state, or holds what is not a plain
            tensor; a tensor does not fit its storage.
        zipfile.BadZipFile: the file or a record is damaged.
        Exception: what else half-read bytes lead to.
    """
    with opened_zip(path) as archive:
        reader = _Reader(archive, Path(path).stat().st_size)
        root = reader.load()
        if not isinstance(root, _Object):
            raise TorchScriptError(f"it holds a {type(root).__name__}, not a module")
        found: dict[str, Tensor] = {}
        reader.collect(root, "", found)
    return found


class _Object:
    """An object of one of the archive's classes."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise TorchScriptError(f"its {type(self).__name__} is restored by code of its own")
        self.attributes = state


class _Reader(PlainUnpickler):
    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive, self._size = archive, size
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        self._folder = pickled.removesuffix("data.pkl")
        if f"{self._folder}byteorder" in archive.namelist():
            order = self._record("byteorder", 16)
            if order != b"little":
                raise TorchScriptError(f"its byte order is {order!r}")
        self._storages: dict[str, Tensor] = {}
        self._classes: dict[str, type[_Object]] = {}
        self._kinds: dict[str, Callable[[str], bool] | None] = {}
        self._modules = 0
        super().__init__(self._record("data.pkl", size))

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if path.startswith("__torch__."):
            # A class of this reader alone: what the pickle does to it ends here.
            return self._classes.setdefault(path, type(path, (_Object,), {}))
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle" and name in (*_LISTS, "restore_type_tag"):
            return self._first
        made = {
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch.device": self._first,
            "collections.OrderedDict": OrderedDict,
            "builtins.complex": complex,
        }.get(path)
        if made is None:
            raise TorchScriptError(f"it holds a {path}")
        return made

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise TorchScriptError(f"it refers to a {kind!r}")
        if key not in self._storages:
            content = bytearray(self._record(f"data/{key}", self._size, compressed=False))
            if count * dtype.itemsize != len(content):
                raise TorchScriptError(
                    f"its storage {key} has {len(content)} bytes instead of {count} {dtype}"
                )
            empty = torch.empty(0, dtype=dtype)
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else empty
        if self._storages[key].dtype != dtype:
            raise TorchScriptError(f"its storage {key} has two types")
        return self._storages[key]

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
        numbers = (offset, *shape, *strides)
        if any(type(number) is not int or number < 0 for number in numbers):
            raise TorchScriptError(f"it has a tensor of shape {shape!r} and strides {strides!r}")
        # Strides of 0 repeat values; other tensors are no larger than their storages.
        if math.prod(shape) * storage.dtype.itemsize > self._size:
            raise TorchScriptError(f"it has a tensor of shape {shape!r}, larger than the file")
        return torch.as_strided(storage, shape, strides, offset)  # refuses what lies outside

    def _first(self, value: Any, *_: Any) -> Any:
        return value

    def collect(self, module: _Object, prefix: str, found: dict[str, Tensor]) -> None:
        """Add a module's parameters and buffers to `found`, then those of the modules in it."""
        self._modules += 1
        if self._modules > _MOST_MODULES:
            raise TorchScriptError(f"it has more than {_MOST_MODULES} modules")
        path = type(module).__name__
        if path not in self._kinds:
            self._kinds[path] = self._kind_of(path)
        is_state = self._kinds[path]
        if is_state is None:
            return
        for name, value in module.attributes.items():
            if isinstance(value, Tensor) and is_state(name):
                found[prefix + name] = value
        for name, value in module.attributes.items():
            if isinstance(value, _Object):
                self.collect(value, f"{prefix}{name}.", found)

    def _kind_of(self, path: str) -> Callable[[str], bool] | None:
        """Which tensors of a class are parameters and buffers; None if it is not a module."""
        *folders, name = path.split(".")
        code = self._record(f"code/{'/'.join(folders)}.py", _LONGEST_CODE).decode()
        source = re.search(rf"^class {re.escape(name)}(\(\w*\))?:\n((?:  .*\n|\n)*)", code, re.M)
        if source is None:
            raise TorchScriptError(f"its code lacks the class {path}")
        if re.search(r"^  def __setstate__\b", source[2], re.M):
            raise TorchScriptError(f"its {path} is restored by code of its own")
        if source[1] != "(Module)":
            return None
        lists = dict(re.findall(r"^  (__parameters__|__buffers__) = \[(.*)\]$", source[2], re.M))
        if "__buffers__" not in lists:  # older archives do not tell buffers from other tensors
            return lambda name: True
        named = {name for names in lists.values() for name in re.findall(r'"([^"]*)"', names)}
        return named.__contains__

    def _record(self, name: str, limit: int, compressed: bool = True) -> bytes:
        record = self._archive.getinfo(self._folder + name)
        if record.file_size > limit:
            raise TorchScriptError(f"its {name} is larger than {limit} bytes")
        if record.compress_type != zipfile.ZIP_STORED and not compressed:
            raise TorchScriptError(f"its {name} is compressed")
        return self._archive.read(record)
