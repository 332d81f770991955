"""What exists, by name: one registry per kind of thing, filled by decorators, discovered by looking through a folder.

A new method, space, selection rule or data source is one new file in its folder: the first look-up imports every file
there, and the file's decorator registers what it holds. Installed packages can add more through the entry-point group
``poise.plugins``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from poise.errors import unknown

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Names to things of one kind. Reading it imports the files of ``package`` once, so that they can register."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._items: dict[str, T] = {}
        self._discovered = False

    def add(self, name: str) -> Callable[[Any], Any]:
        """A decorator that registers a function or class under ``name``; a name can be taken once."""

        def register(item: Any) -> Any:
            taken = self._items.get(name)
            if taken is not None and getattr(taken, "__qualname__", None) != getattr(item, "__qualname__", ""):
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            return item

        return register

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
            importlib.import_module(f"{self._package}.{module.name}")
        for plugin in entry_points(group="poise.plugins"):
            plugin.load()

    def __getitem__(self, name: str) -> T:
        self._discover()
        try:
            return self._items[name]
        except KeyError:
            raise unknown(self.kind, name, self._items) from None

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._items))

    def __len__(self) -> int:
        self._discover()
        return len(self._items)
