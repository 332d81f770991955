"""One module's source, taken apart with `ast`; nothing is run. Definitions: top-level classes, functions, constants."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType


@dataclass(frozen=True)
class Source:
    """One module's source: what its top level defines and imports."""

    module: ModuleType

    @cached_property
    def text(self) -> str:
        return inspect.getsource(self.module)

    @cached_property
    def body(self) -> list[ast.stmt]:
        return ast.parse(self.text).body

    @cached_property
    def definitions(self) -> dict[str, ast.stmt]:
        """Name -> statement, in the order of the source."""
        found: dict[str, ast.stmt] = {}
        for statement in self.body:
            match statement:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                    found[name] = statement
                case ast.Assign(targets=[ast.Name(id=name)]):
                    found[name] = statement
        return found

    @cached_property
    def imports(self) -> dict[str, tuple[str, str | None]]:
        """Local name -> (module, name in it); None where the module itself is imported."""
        found: dict[str, tuple[str, str | None]] = {}
        for statement in self.body:
            if isinstance(statement, ast.ImportFrom) and statement.module != "__future__":
                for alias in statement.names:
                    found[alias.asname or alias.name] = ("." * statement.level + (statement.module or ""), alias.name)
            elif isinstance(statement, ast.Import):
                for alias in statement.names:
                    found[alias.asname or alias.name.partition(".")[0]] = (alias.name, None)
        return found

    def segment(self, name: str, wanted: Collection[str]) -> str:
        """The definition's own lines, with the comments above and the docstring below it."""
        statement = self.definitions[name]
        entries = _entries(statement, wanted)
        lines = self.text.split("\n")
        decorators = [node.lineno for node in getattr(statement, "decorator_list", [])]
        first, last = min([statement.lineno, *decorators]) - 1, statement.end_lineno or statement.lineno
        body = lines[first:last]
        if entries is not None:
            assert isinstance(statement, ast.Assign | ast.AnnAssign)
            assert statement.value is not None
            shown = [f"    {self._text(key)}: {self._text(value)}," for key, value in entries]
            body = [body[0][: statement.value.col_offset] + "{", *shown, "}"]
        while first and lines[first - 1].startswith("#"):
            first -= 1
            body = [lines[first], *body]
        after = self.body[self.body.index(statement) + 1 :][:1]
        if not isinstance(statement, ast.ClassDef | ast.FunctionDef) and after and _is_text(after[0]):
            body = [*body, *lines[after[0].lineno - 1 : after[0].end_lineno]]
        return "\n".join(body)

    def _text(self, node: ast.expr) -> str:
        return ast.get_source_segment(self.text, node) or ast.unparse(node)


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _entries(statement: ast.stmt, wanted: Collection[str]) -> list[tuple[ast.expr, ast.expr]] | None:
    """The wanted entries of a table ``{"name": thing, ...}``; None for anything else, or if none is wanted.

    So a network brings along the operations that it uses, not all there are.
    """
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or not isinstance(statement.value, ast.Dict):
        return None
    found = list(zip(statement.value.keys, statement.value.values, strict=True))
    named = [(key, value) for key, value in found if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    kept: list[tuple[ast.expr, ast.expr]] = [(key, value) for key, value in named if key.value in wanted]
    return kept if kept and len(named) == len(found) else None


def names_in(statement: ast.stmt, wanted: Collection[str]) -> list[str]:
    """The names that a definition uses, less those of table entries that nobody wants."""
    entries = _entries(statement, wanted)
    roots: list[ast.AST] = [statement]
    if entries is not None:
        roots = [value for _, value in entries]
        roots += [statement.annotation] if isinstance(statement, ast.AnnAssign) else []
    return list(dict.fromkeys(node.id for root in roots for node in ast.walk(root) if isinstance(node, ast.Name)))
