"""What exists, by name: one registry per kind of thing, filled by decorators, discovered by looking through a folder.

A new method, space, selection rule or data source is one new file in its folder. Names and descriptions are read from
the sources there; the first time a thing itself is asked for, every file is imported, and its decorator registers what
it holds. Installed packages can add more through the entry-point group ``poise.plugins``; they are imported at once.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

from poise.declared import Declared, Unreadable, declared_in
from poise.errors import unknown

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Mapping[str, T], Generic[T]):
    """Names to things of one kind.

    Args:
        kind: what they are called in refusals.
        package: whose files register them.
        decorator: what registers there, as it is written: ``SPACES.add``, ``fills``.
    """

    def __init__(self, kind: str, package: str, decorator: str) -> None:
        self.kind = kind
        self._package = package
        self._decorator = decorator
        self._items: dict[str, T] = {}
        self._docs: dict[str, str] = {}
        self._declared: dict[str, Declared] | None = None
        self._discovered = False

    def add(self, name: str, doc: str | None = None) -> Callable[[Any], Any]:
        """A decorator that registers a function or class under ``name``; a name can be taken once. ``doc`` describes it
        if its own docstring does not."""

        def register(item: Any) -> Any:
            taken = self._items.get(name)
            if taken is not None and getattr(taken, "__qualname__", None) != getattr(item, "__qualname__", ""):
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            self._docs[name] = inspect.getdoc(item) or "" if doc is None else inspect.cleandoc(doc)
            return item

        return register

    def by_kind(self) -> Callable[[C], C]:
        """A decorator that registers a class under its attribute ``kind``."""
        return lambda cls: self.add(cls.kind)(cls)  # type: ignore[attr-defined]

    def check(self, name: object) -> None:
        """Raise `Refused`, with the nearest valid name, unless there is one of this name. Imports nothing."""
        if name not in self:
            raise unknown(self.kind, name, self)

    def doc(self, name: str) -> str:
        """The docstring of what has this name. Imports it only where its source does not say."""
        self.check(name)
        found = self._read().get(name)
        if name not in self._docs and found is not None and found.doc is not None:
            return found.doc
        if name not in self._docs:
            self._discover()
        return self._docs[name]

    def value(self, name: str, attribute: str) -> Any:
        """An attribute of what has this name, such as a method's ``citation``. Imports it only where its source does
        not say."""
        found = self._read().get(name)
        if found is not None and name not in self._items and attribute in found.values:
            return found.values[attribute]
        return getattr(self[name], attribute)

    @property
    def modules(self) -> list[str]:
        """The files of the folder that register something, as modules. Imports none."""
        found = []
        for module, source in _sources(self._package):
            try:
                declared = source is None or declared_in(source, self.kind, self._decorator)
            except Unreadable:
                declared = True
            if declared:
                found.append(module)
        return found

    def _read(self) -> Mapping[str, Declared]:
        """What the sources say; a file that cannot be read so is imported."""
        if self._declared is None:
            self._declared = {}
            for module, source in _sources(self._package):
                try:
                    if source is None:
                        raise Unreadable
                    found = declared_in(source, self.kind, self._decorator)
                except Unreadable:
                    importlib.import_module(module)
                else:
                    self._declared |= {each.name: each for each in found}
            for plugin in entry_points(group="poise.plugins"):
                plugin.load()
        return self._declared

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        self._read()
        for module, _ in _sources(self._package):
            importlib.import_module(module)

    def __getitem__(self, name: str) -> T:
        self.check(name)
        self._discover()
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._read() or name in self._items  # in this order: reading also loads plugins

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._read(), *self._items}))

    def __len__(self) -> int:
        return len({*self._read(), *self._items})


def source_of(module: str) -> str:
    """The source of a module, which is not imported."""
    source = dict(_sources(module.rpartition(".")[0])).get(module)
    if source is None:
        raise ImportError(f"{module} has no source, which says what there is")
    return source


def _sources(package: str) -> Iterator[tuple[str, str | None]]:
    """Name and source of every file of a package, None where only compiled code is there. The package is not
    imported."""
    top, *inner = package.split(".")
    spec, name = find_spec(top), top
    for part in inner:  # find_spec would import what is above the last part
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations if spec else None)
    paths = spec.submodule_search_locations if spec is not None else None
    for found in sorted(pkgutil.iter_modules(paths), key=lambda found: found.name):
        module: ModuleSpec | None = found.module_finder.find_spec(found.name, None)
        read = getattr(module.loader if module else None, "get_source", None)
        yield f"{package}.{found.name}", read(found.name) if read else None
