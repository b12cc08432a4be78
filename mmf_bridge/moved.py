"""Modules and names that moved or went away since MMF was written, under their old names.

The finder stands *last* in `sys.meta_path`, so that a package which is really installed is
preferred to what stands here for it.
"""

from __future__ import annotations

import collections.abc
import importlib
import importlib.util
import re
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from mmf_bridge.line import detect

# line -> old module name -> module that takes its place.
_BOTH = {
    "demjson": "demjson3",
    "torchtext": "mmf_bridge.common.word_vectors",
    "transformers.modeling_bert": "mmf_bridge.common.bert",
}
ALIASES: dict[str, dict[str, str]] = {
    "rc7": _BOTH,
    "main": {**_BOTH, "pytorch_lightning.callbacks.base": "pytorch_lightning.callbacks"},
}

# Module of MMF -> (module, name it asks of it, what it gets). The name is lent for as long as the
# module of MMF is being executed, so that other packages which probe for it are not deceived.
LENT: dict[str, tuple[str, str, str]] = {
    "mmf.datasets.builders.charades._utils": ("torchvision.io", "read_video", __name__),
}

# transformers 3 kept every model in one folder: `transformers.modeling_bert`.
_FLAT = re.compile(r"transformers\.((?:configuration|modeling|tokenization)_(\w+))")

_on_loan: set[str] = set()


class MovedFinder:
    """Finds and loads the old names of one line, `"rc7"` or `"main"`."""

    def __init__(self, line: str) -> None:
        self.aliases = ALIASES[line]

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Returns a spec that leads to the new place of `name`, or `None` if it never moved."""
        new_name = self.aliases.get(name)
        if new_name is None:
            flat = _FLAT.fullmatch(name)
            if flat is None:
                return None
            new_name = f"transformers.models.{flat[2]}.{flat[1]}"
            if not _exists(new_name):
                return None
        return ModuleSpec(name, self, origin=new_name)

    def create_module(self, spec: ModuleSpec) -> None:
        """Leaves it to Python to make an empty module; `exec_module` replaces it."""

    def exec_module(self, module: ModuleType) -> None:
        """Imports the new place; Python hands out what stands in `sys.modules` afterwards."""
        sys.modules[module.__name__] = importlib.import_module(module.__spec__.origin)


def install(_name: str) -> None:
    """Appends the finder to `sys.meta_path`, once."""
    line = detect()
    if line is not None and not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(MovedFinder(line))


def lend(name: str) -> None:
    """Gives a module what went away of it and `name`, a key of `LENT`, is about to import."""
    lender, attribute, stand_in = LENT[name]
    module = importlib.import_module(lender)
    if not hasattr(module, attribute):
        setattr(module, attribute, getattr(importlib.import_module(stand_in), attribute))
        _on_loan.add(name)


def take_back(module: ModuleType) -> None:
    """Removes what `lend` gave, after the module of MMF has been executed."""
    if module.__name__ in _on_loan:
        lender, attribute, _ = LENT[module.__name__]
        delattr(sys.modules[lender], attribute)
        _on_loan.discard(module.__name__)


def read_video(*_args: Any, **_kwargs: Any) -> NoReturn:
    """Stands in for `torchvision.io.read_video`, for MMF's Charades dataset alone.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        "torchvision.io.read_video was removed from torchvision, so MMF's Charades dataset cannot "
        "read videos here. Use torchvision 0.23 or older with the torch of its time for it."
    )


def patch_mapping(module: ModuleType) -> None:
    """`collections.Mapping` went to `collections.abc` (rc7's logger uses nothing else of it)."""
    module.collections = collections.abc


def _exists(name: str) -> bool:
    """Whether a submodule of an installed transformers exists, without raising for its parent."""
    parent = name.rpartition(".")[0]
    return importlib.util.find_spec(parent) is not None and bool(importlib.util.find_spec(name))
