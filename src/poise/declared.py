"""What a Python file registers, read from its source: names, docstrings and constants are known before anything is
imported."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any


class Unreadable(Exception):
    """The source does not say; the file must be imported."""


@dataclass(frozen=True)
class Declared:
    """One thing that a file registers.

    Args:
        name: its name.
        doc: its docstring, cleaned; None: it has none of its own.
        values: what can be read of its decorator's keywords and of its class attributes, by name.
    """

    name: str
    doc: str | None
    values: Mapping[str, Any] = field(default_factory=dict)


def declared_in(source: str, kind: str, decorator: str) -> list[Declared]:
    """What the source registers as a ``kind`` with ``decorator``, such as ``SPACES.add`` or ``fills``.

    The name is the decorator's first argument; of a class under ``@fills("kind")`` or ``@selects()`` its own ``kind``.
    Raises `Unreadable` where a registration at the top level is of another form.
    """
    if decorator not in source:
        return []
    tree = _parsed(source)
    read = _Reader(tree)
    found: list[Declared] = []
    seen = 0
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and _called(call, decorator):
                    seen += 1
                    found += _registered(node, call, kind, read)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):  # SPACES.add("name")(value)
            call = node.value.func
            if isinstance(call, ast.Call) and _called(call, decorator):
                seen += 1
                found.append(Declared(read.text(call.args[0]), None))
    if seen != sum(isinstance(each, ast.Call) and _called(each, decorator) for each in _outside_functions(tree)):
        raise Unreadable
    return found


def fields_made(source: str, name: str) -> list[str]:
    """The fields of the class of this name whose default a call makes; of `Method` these are the slots."""
    (found,) = (node for node in _parsed(source).body if isinstance(node, ast.ClassDef) and node.name == name)
    assigned = [_assigned(part) for part in found.body]
    return [field for each in assigned for field, value in each.items() if isinstance(value, ast.Call)]


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _called(call: ast.Call, decorator: str) -> bool:
    """Whether the call is of this name, or of one that ends so: ``poise.methods.preset``."""
    parts = decorator.split(".")
    return _dotted(call.func)[-len(parts) :] == parts


def _dotted(node: ast.expr) -> list[str]:
    """``poise.methods.preset`` as its parts; [] for what is no dotted name."""
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is in it, but for the bodies of functions and classes: those do not run on import, or do not
    register."""
    yield node
    inside = isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
    children = node.decorator_list if inside else ast.iter_child_nodes(node)  # type: ignore[attr-defined]
    for child in children:
        yield from _outside_functions(child)


def _registered(node: ast.FunctionDef | ast.ClassDef, call: ast.Call, kind: str, read: _Reader) -> Iterator[Declared]:
    values = {word.arg: word.value for word in call.keywords if word.arg}
    own = read.attributes(node) if isinstance(node, ast.ClassDef) else {}
    of_kind = isinstance(node, ast.ClassDef) and _dotted(call.func)[-1] != "add"
    if of_kind and call.args and read.text(call.args[0]) != kind:
        return  # it fills another slot
    if (not of_kind and not call.args) or (of_kind and "kind" not in own):
        raise Unreadable
    name = read.text(own["kind"] if of_kind else call.args[0])
    readable = {key: read.value(value) for key, value in (own | values).items() if read.can(value)}
    doc = ast.get_docstring(node)
    yield Declared(name, None if doc is None else inspect.cleandoc(doc), readable)


def _assigned(node: ast.stmt) -> dict[str, ast.expr]:
    """Name -> expression of an assignment; {} for any other statement."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return {node.target.id: node.value}
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return {node.targets[0].id: node.value}
    return {}


class _Reader:
    """Reads constants, f-strings, tuples, lists and dicts of them, and names of the file that stand for any."""

    def __init__(self, tree: ast.Module) -> None:
        self._names: dict[str, ast.expr] = {}
        for node in tree.body:
            self._names |= _assigned(node)
        self._classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

    def value(self, node: ast.expr) -> Any:
        """Raises `Unreadable` for anything else."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name) and node.id in self._names:
            return self.value(self._names[node.id])
        if isinstance(node, ast.JoinedStr):
            return "".join(str(self.value(part)) for part in node.values)
        if isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
            return self.value(node.value)
        if isinstance(node, ast.Tuple | ast.List):
            items = [self.value(item) for item in node.elts]
            return tuple(items) if isinstance(node, ast.Tuple) else items
        if isinstance(node, ast.Dict):
            found: dict[Any, Any] = {}
            for key, value in zip(node.keys, node.values, strict=True):
                found |= self.value(value) if key is None else {self.value(key): self.value(value)}
            return found
        raise Unreadable

    def attributes(self, node: ast.ClassDef) -> dict[str, ast.expr]:
        """The class attributes, also of bases in the same file."""
        found: dict[str, ast.expr] = {}
        for base in reversed(node.bases):
            if isinstance(base, ast.Name) and base.id in self._classes:
                found |= self.attributes(self._classes[base.id])
        for part in node.body:
            found |= _assigned(part)
        return found

    def can(self, node: ast.expr) -> bool:
        """Whether it can be read."""
        try:
            self.value(node)
        except (Unreadable, RecursionError):
            return False
        return True

    def text(self, node: ast.expr) -> str:
        """Raises `Unreadable` for what is no text."""
        value = self.value(node)
        if not isinstance(value, str):
            raise Unreadable
        return value
