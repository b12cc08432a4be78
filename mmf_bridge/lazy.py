"""Imports that wait until somebody uses them.

Stock MMF imports each of its models and processors at every start, and with them transformers,
scikit-learn, torchvision and Lightning's metrics.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, ModuleType
from typing import Any

# Packages of MMF whose `__init__` only imports what their modules define.
PACKAGES = frozenset({"mmf.models", "mmf.datasets.processors"})

# Module of MMF -> the module that it needs in functions alone, to call what that defines.
WAITING = {
    "mmf.datasets.databases.image_database": "torchvision.datasets.folder",
    "mmf.modules.metrics": "sklearn.metrics",
    "mmf.modules.optimizers": "transformers.optimization",
    "mmf.modules.schedulers": "transformers.optimization",
    "mmf.utils.visualize": "torchvision",
}
# What went away of a module of these: module -> name -> where its substitute is.
SUBSTITUTES = {"transformers.optimization": {"AdamW": "mmf_bridge.common.adamw"}}


def package_code(module: ModuleType, source: str, path: str) -> CodeType:
    """The code of a package without its imports; asking for one of their names imports its module.

    Args:
        module: the package, which gets a `__getattr__` for those names.
        source: of its `__init__.py`.
        path: of that file, for tracebacks.
    """
    tree = ast.parse(source, path)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    places = {}
    for node in imports:
        relative = "." * node.level + (node.module or "")
        place = importlib.util.resolve_name(relative, module.__name__)
        places.update({alias.asname or alias.name: place for alias in node.names})

    def __getattr__(name: str) -> Any:  # noqa: N807 (Python's name)
        submodule = f"{module.__name__}.{name}"
        if name in places:
            value = getattr(importlib.import_module(places[name]), name)
        elif any(f"{place}.".startswith(f"{submodule}.") for place in places.values()):
            value = importlib.import_module(submodule)
        else:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        setattr(module, name, value)
        return value

    module.__getattr__ = __getattr__
    tree.body = [node for node in tree.body if node not in imports]
    return compile(tree, path, "exec", dont_inherit=True)


@contextmanager
def lent(lender: str | None) -> Iterator[None]:
    """Let what is imported here find a stand-in for a module, unless it is imported already.

    Functions and classes that are taken of it import the module when they are called; attributes,
    when they are read afterwards.
    """
    if lender is None or lender in sys.modules:
        yield
        return
    parts = lender.split(".")
    names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    stand_ins = {name: _StandIn(name) for name in names if name not in sys.modules}
    for name, module in stand_ins.items():
        parent, _, child = name.rpartition(".")
        if parent in stand_ins:
            vars(stand_ins[parent])[child] = module
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in stand_ins.items():
            module.is_lent = False
            del sys.modules[name]


class _StandIn(ModuleType):
    """Stands for a module: as long as it `is_lent` it gives functions that wait for a call."""

    is_lent = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in SUBSTITUTES.get(self.__name__, ()):
            return getattr(importlib.import_module(SUBSTITUTES[self.__name__][name]), name)
        if self.is_lent:
            return _Later(self.__name__, name)
        return getattr(importlib.import_module(self.__name__), name)


class _Later:
    """Stands for a function or a class of a module, which is imported when it is called."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(self._module), self._name)(*args, **kwargs)

    def __instancecheck__(self, thing: Any) -> bool:
        # Of a class that nobody has imported there are no instances.
        module = sys.modules.get(self._module)
        return module is not None and isinstance(thing, getattr(module, self._name))
