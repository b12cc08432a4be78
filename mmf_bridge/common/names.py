"""Patches of ``mmf.utils.env`` and ``mmf.common.registry``: a name's module is imported for it.

Stock MMF's ``setup_imports`` imports every module that may register something, at each start.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mmf_bridge.line import detect, find_mmf

_FOLDERS = ("common", "datasets", "models", "modules", "trainers")
_REGISTERS = re.compile(r"""@registry\.register_(\w+)\(\s*["']([^"'{]+)["']""", re.IGNORECASE)
_SUFFIX = "_mapping"

# Names of trainers that the bridge registers, by line, with the module that it patches.
_TRAINERS = {
    "rc7": {"mmf": "mmf.trainers.base_trainer"},
    "main": {"base_trainer": "mmf.trainers.mmf_trainer"},
}
# Whether this process has imported all of MMF's modules.
_all_imported = False


class Names(dict[str, Any]):
    """The names of one kind, such as ``model``, and what is registered for them.

    A name that is missing imports the modules of MMF that register it, or else all of MMF's; asking
    for all names imports all. What MMF registers never replaces what others have: stock MMF's
    modules are imported before any plugin.
    """

    def __init__(self, names: dict[str, Any], kind: str) -> None:
        super().__init__(names)
        self.kind = kind

    def _find(self, name: str) -> None:
        if not super().__contains__(name):
            import_for(self.kind, name)
        if not super().__contains__(name):
            import_all()

    def __setitem__(self, name: str, thing: Any) -> None:
        if not (is_of_mmf(thing) and super().__contains__(name)) or is_of_mmf(self[name]):
            super().__setitem__(name, thing)

    def __getitem__(self, name: str) -> Any:
        self._find(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._find(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self._find(name)
        return super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        import_all()
        return super().__iter__()

    def __len__(self) -> int:
        import_all()
        return super().__len__()

    def keys(self) -> KeysView[str]:
        import_all()
        return super().keys()

    def values(self) -> ValuesView[Any]:
        import_all()
        return super().values()

    def items(self) -> ItemsView[str, Any]:
        import_all()
        return super().items()


def is_of_mmf(thing: Any) -> bool:
    """Whether MMF itself defines a class or function."""
    return str(getattr(thing, "__module__", "")).partition(".")[0] == "mmf"


def patch_env(module: ModuleType) -> None:
    """Leave the imports of ``setup_imports`` to those who ask for a name."""
    module.import_all = module.setup_imports

    def setup_imports() -> None:
        """Nothing to do: the registry imports what registers a name, see ``Names``."""

    module.setup_imports = setup_imports


def patch_registry(module: ModuleType) -> None:
    """Let the registry's names be :class:`Names`."""
    mapping = module.Registry.mapping
    for key in [key for key in mapping if key.endswith(_SUFFIX)]:
        kind = key.removesuffix(_SUFFIX).removesuffix("_name")
        mapping[key] = Names(mapping[key], kind)


def import_for(kind: str, name: str) -> None:
    """Import the modules of MMF that register a name of a kind."""
    for module in _modules_by_name().get((kind, name), ()):
        importlib.import_module(module)


def import_all() -> None:
    """Import every module of MMF that may register something, once."""
    global _all_imported
    from mmf.utils import env

    if not _all_imported:
        _all_imported = True  # its modules look names up as well
        try:
            getattr(env, "import_all", env.setup_imports)()  # the latter without `patch_env`
        except BaseException:
            _all_imported = False
            raise


@cache
def _modules_by_name() -> dict[tuple[str, str], list[str]]:
    """Kind and name -> the modules of MMF whose text registers it."""
    root = Path(find_mmf())
    trainers = _TRAINERS[detect()].items()
    places = {("trainer", name): [module] for name, module in trainers}
    for folder in _FOLDERS:
        for file in sorted((root / folder).rglob("*.py")):
            module = ".".join(("mmf", *file.relative_to(root).with_suffix("").parts))
            for kind, name in _REGISTERS.findall(file.read_text(encoding="utf-8")):
                kind = "builder" if kind == "datamodule" else kind
                places.setdefault((kind, name), []).append(module)
    return places
