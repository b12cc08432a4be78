"""Loads MMF's modules and calls their patches, by the table in `mmf_bridge.patches`."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from mmf_bridge.lazy import PACKAGES, WAITING, lent, package_code
from mmf_bridge.line import detect

_MOVED = "mmf_bridge.moved:install"
_MAIN_GUARD = "__name__ == '__main__'"


class MendingLoader(SourceFileLoader):
    """Reads a module of MMF as Python itself does and applies its patches.

    Those of `before` are called with its name before its code runs, those of `after` with it.
    """

    def __init__(
        self, name: str, path: str, before: tuple[str, ...] = (), after: tuple[str, ...] = ()
    ) -> None:
        super().__init__(name, path)
        self.before, self.after = before, after

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module's code between its patches."""
        for patch in self.before:
            _apply(patch, self.name, self.name)
        if self.name in PACKAGES:
            code = package_code(module, self.get_source(self.name), self.path)
        else:
            code = super().get_code(self.name)
        with lent(WAITING.get(self.name)):
            exec(code, module.__dict__)
        for patch in self.after:
            _apply(patch, module, self.name)

    def get_code(self, fullname: str) -> CodeType:
        """Returns what `python -m <fullname>` is to run as `__main__`.

        `runpy` runs this code in a namespace of its own, where no patch would reach it. So the code
        imports the patched module under its normal name (which also lets spawned workers find its
        functions) and then runs the module's own `if __name__ == "__main__":` block on it.
        """
        source = ast.parse(self.get_source(fullname), self.path)
        guarded = [
            node
            for node in source.body
            if isinstance(node, ast.If) and ast.unparse(node.test) == _MAIN_GUARD
        ]
        program = ast.parse(
            "from mmf_bridge.loader import public_names\n"
            f"globals().update(public_names({fullname!r}))\n"
        )
        program.body.extend(guarded)
        return compile(program, self.path, "exec", dont_inherit=True)


def public_names(module_name: str) -> dict[str, Any]:
    """Imports a module and returns what it defines, without `__name__` and its like."""
    names = vars(importlib.import_module(module_name))
    return {name: value for name, value in names.items() if not name.startswith("__")}


def find_elsewhere(
    name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """Asks every finder but the bridge's own where a module is."""
    from mmf_bridge.finder import MmfFinder

    for finder in sys.meta_path:
        if not isinstance(finder, MmfFinder):
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


def patched_spec(
    name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """Returns the spec of a module of MMF whose loader applies the patches of that module."""
    spec = find_elsewhere(name, path, target)
    if spec is None:
        return None
    line = detect()
    if line is None:
        return spec
    from mmf_bridge.patches import patches_of

    patches = patches_of(line, name)
    before = tuple(patch.function for patch in patches if patch.before)
    after = tuple(patch.function for patch in patches if not patch.before)
    if "." not in name:  # `mmf` or `mmf_cli` itself: from here on MMF is really being imported
        before = (_MOVED, *before)
    if before or after or name in PACKAGES or name in WAITING:
        if not spec.origin or not spec.origin.endswith(".py"):
            raise ImportError(
                f"mmf_bridge: {name} was found as {spec.origin}, and only Python source files can "
                "be patched. Install MMF as a plain folder: `pip install --no-deps mmf==1.0.0rc7`.",
                name=name,
            )
        # By the file, not by the loader found: pytest takes mmf.common.test_reporter for a test.
        spec.loader = MendingLoader(name, spec.origin, before, after)
    return spec


def _apply(patch: str, argument: ModuleType | str, module_name: str) -> None:
    patch_module, _, function = patch.partition(":")
    try:
        getattr(importlib.import_module(patch_module), function)(argument)
    except Exception as error:
        raise ImportError(
            f"mmf_bridge: the patch {patch} of {module_name} failed: "
            f"{type(error).__name__}: {error}. MMF_BRIDGE=0 switches the bridge off.",
            name=module_name,
        ) from error
