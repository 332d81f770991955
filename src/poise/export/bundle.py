"""Carries source code along: the definitions that a class needs, verbatim, out of the modules that define them.

What a definition needs is every name in it that is defined at the top of its module, or imported there from a module of
the same package. Names from elsewhere are imported.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from poise.errors import Refused
from poise.export.module_source import Source, names_in

PACKAGE = "poise"


def ours(module: str) -> bool:
    """Whether a module's code is carried along (else it is imported)."""
    return module == PACKAGE or module.startswith(f"{PACKAGE}.")


@dataclass
class Bundle:
    """The definitions collected so far, and the imports that they use.

    Args:
        wanted: names of table entries to keep, see `Source.segment`.
    """

    wanted: Collection[str] = ()
    sources: dict[str, Source] = field(default_factory=dict)
    used: dict[str, set[str]] = field(default_factory=dict)
    imports: set[tuple[str, str | None, str]] = field(default_factory=set)

    def add(self, module: str, name: str) -> None:
        """Collect a definition and all that it needs."""
        source = self.sources.get(module)
        if source is None:
            source = Source(importlib.import_module(module))
            self.sources[module] = source
        if name in self.used.setdefault(module, set()):
            return
        if name not in source.definitions:
            raise Refused(
                f"cannot carry the source of {module}.{name} along: it is not defined at the top of its module"
            )
        self.used[module].add(name)
        self._need(module, names_in(source.definitions[name], self.wanted))

    def add_method(self, of: object, name: str, fields: Collection[str]) -> str:
        """Collect what a method needs, and return its source as a function without annotations, whose ``self`` needs no
        more than ``fields``. Raises `Refused` if it uses anything else of its object."""
        kind = next(each for each in type(of).__mro__ if name in vars(each))
        try:
            lines = textwrap.dedent(inspect.getsource(vars(kind)[name])).rstrip().split("\n")
        except (OSError, TypeError):
            raise Refused(f"cannot carry the source of {kind.__name__}.{name} along: it stands in no file") from None
        (function,) = ast.parse("\n".join(lines)).body
        assert isinstance(function, ast.FunctionDef)
        arguments = [argument.arg for argument in function.args.args]
        nodes = [node for statement in function.body for node in ast.walk(statement)]
        used = {
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == arguments[0]
        }
        if more := sorted(used - set(fields)):
            raise Refused(f"cannot carry the source of {kind.__name__}.{name} along: it uses {arguments[0]}.{more[0]}")
        self._need(kind.__module__, {node.id for node in nodes if isinstance(node, ast.Name)} - {*arguments})
        return "\n".join([f"def {name}({', '.join(arguments)}):", *lines[function.body[0].lineno - 1 :]])

    def _need(self, module: str, names: Iterable[str]) -> None:
        source = self.sources.setdefault(module, Source(importlib.import_module(module)))
        self.used.setdefault(module, set())
        for needed in names:
            if needed in source.definitions:
                self.add(module, needed)
            elif needed in source.imports:
                self._import(needed, *source.imports[needed])

    def _import(self, local: str, module: str, name: str | None) -> None:
        if not ours(module) and not module.startswith("."):
            self.imports.add((module, name, local))
        elif name is None or local != name or module.startswith("."):
            raise Refused(
                f"cannot carry the source of {local!r} along: import it as 'from {PACKAGE}... import {local}'"
            )
        else:
            self.add(module, name)

    def definitions(self) -> list[tuple[str, list[str]]]:
        """Module -> its definitions' texts: modules after those they need, definitions in the order of their module."""
        names = [name for module in self.used.values() for name in module]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Refused(f"cannot carry the source along in one file: {twice[0]!r} is defined in two modules")
        return [
            (
                module,
                [
                    self.sources[module].segment(n, self.wanted)
                    for n in self.sources[module].definitions
                    if n in self.used[module]
                ],
            )
            for module in self._ordered()
            if self.used[module]
        ]

    def _ordered(self) -> list[str]:
        done: dict[str, None] = {}

        def visit(module: str) -> None:
            for needed, _ in self.sources[module].imports.values():
                if needed in self.used and needed not in done and needed != module:
                    visit(needed)
            done[module] = None

        for module in self.used:
            if module not in done:
                visit(module)
        return list(done)


def import_lines(imports: Iterable[tuple[str, str | None, str]], standard: Collection[str]) -> list[str]:
    """Import statements from (module, name or None, local name), the standard library's first, one line per module."""
    grouped: dict[str, set[str]] = {}
    plain: set[tuple[str, str]] = set()
    for module, name, local in imports:
        if name is None:
            plain.add(
                (module, f"import {module}" if local == module.partition(".")[0] else f"import {module} as {local}")
            )
        else:
            grouped.setdefault(module, set()).add(name if local == name else f"{name} as {local}")
    lines = [*sorted(plain)]
    lines += [(module, f"from {module} import {', '.join(sorted(grouped[module]))}") for module in sorted(grouped)]
    own = [line for module, line in lines if module.partition(".")[0] in standard]
    others = [line for module, line in lines if module.partition(".")[0] not in standard]
    return [*own, *([""] if own and others else []), *others]
