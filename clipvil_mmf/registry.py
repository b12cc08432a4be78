"""Components by name: a name is taken once, and a component has what its base class asks for."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import is_dataclass
from operator import attrgetter
from typing import Any, TypeVar

from clipvil_mmf.config import ConfigError

T = TypeVar("T")


class Registry(dict[str, T]):
    """Name -> ``(dataclass of its params, class)``, or a module; ``REGISTRY[name] = entry`` adds.

    Args:
        kind: what its entries are, for errors.
        entries: the first ones.
        base: what their classes derive from.
        given: names that an entry itself has to give; those of the base do not count.
        attributes: dotted names that an object of a class has once it is built.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, T],
        base: type = object,
        given: Collection[str] = (),
        attributes: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._kind, self._base, self._given, self._attributes = kind, base, given, attributes
        for name, entry in entries.items():
            self[name] = entry

    def __setitem__(self, name: str, entry: T) -> None:
        """Add a component, or a later version of the same one, as after a reload."""
        component = _component(entry)
        if self._base is not object and not _is_pair(entry):
            self._refuse(name, component, "is not given as (dataclass of its params, class)")
        # A format is a module or an object; its base is `object`.
        if not issubclass(component if isinstance(component, type) else object, self._base):
            self._refuse(name, component, f"is not a subclass of {_name(self._base)}")
        for attribute in self._given:
            theirs = getattr(component, attribute, None)
            if theirs is None or theirs is getattr(self._base, attribute, None):
                self._refuse(name, component, f"lacks {attribute}")
        former = _component(self.get(name, entry))
        if _origin(former) != _origin(component):
            self._refuse(name, component, f"would replace {_name(former)}, which has this name")
        super().__setitem__(name, entry)

    def check(self, name: str, built: Any) -> None:
        """Raise :class:`ConfigError` where an object that was built lacks an attribute."""
        for attribute in self._attributes:
            try:
                attrgetter(attribute)(built)
            except AttributeError:
                self._refuse(name, type(built), f"does not set {attribute}")

    def _refuse(self, name: str, component: Any, why: str) -> None:
        raise ConfigError(
            f"the {self._kind} {name!r}: {_name(component)} {why}; docs/extending.md shows an "
            "example of each kind."
        ) from None


def _is_pair(entry: Any) -> bool:
    if not isinstance(entry, tuple) or len(entry) != 2:
        return False
    return all(isinstance(part, type) for part in entry) and is_dataclass(entry[0])


def _component(entry: Any) -> Any:
    return entry[-1] if isinstance(entry, tuple) else entry


def _name(component: Any) -> str:
    if isinstance(component, type):
        return f"{component.__module__}.{component.__qualname__}"
    return getattr(component, "__name__", repr(component))


def _origin(component: Any) -> tuple[str, str]:
    """File and name: a plugin's folder may be imported under several names."""
    module = getattr(component, "__module__", None) or _name(component)
    file = getattr(sys.modules.get(module), "__file__", None)
    return file or module, getattr(component, "__qualname__", "")
