"""The DARTS papers' Python text: a call, ``Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6),
reduce=..., reduce_concat=...)``; of a recurrent cell ``Genotype(recurrent=[('relu', 0), ...], concat=range(1, 9))``.

Entries are ``(operation, input)``, two per node (one in a recurrent cell), or Fair DARTS's triples ``(operation, node,
input)``. They are read by a parser that knows only literals; nothing is evaluated.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from typing import Any

from poise.errors import Refused, shown
from poise.genotype import NOTATIONS, Genotype, Notation, no_genotype

LONGEST_PYTHON = 65_536
"""Characters of a Python text, whose parser takes far more memory than the text; the papers' have about 1,000."""
LARGEST_NODE = 99
"""In a Python text; a larger number is no node of a cell."""

_BRACKETS = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[()\[\]{}]""")


def read(text: str, space: str) -> Genotype:
    """The text does not say which space it belongs to, unless it is of a recurrent cell."""
    if len(text) > LONGEST_PYTHON:
        raise Refused(
            f"not a genotype: expected poise's JSON or a Genotype(...) text of at most {LONGEST_PYTHON:,} characters, "
            f"got {len(text):,}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a doubtful escape in a text that is refused anyway
            body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        body = []
    value = body[0].value if len(body) == 1 and isinstance(body[0], (ast.Expr, ast.Assign)) else None
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name) or value.func.id != "Genotype":
        raise no_genotype(text)
    fields = {keyword.arg: keyword.value for keyword in value.keywords}
    if not value.args and "recurrent" in fields:
        return _recurrent(fields)
    expected = {"normal", "normal_concat", "reduce", "reduce_concat"}
    if value.args or not {"normal", "reduce"} <= set(fields) <= expected:
        raise Refused(
            f"a Genotype(...) text has the fields {', '.join(sorted(expected))}; got {shown(list(fields), 60)}"
        )
    choices = {}
    for cell in ("normal", "reduce"):
        choices[cell] = _cell(fields[cell], cell)
        concat = _literal(fields[f"{cell}_concat"], f"{cell}_concat") if f"{cell}_concat" in fields else [2, 3, 4, 5]
        if not isinstance(concat, (list, tuple)) or list(concat) != [2, 3, 4, 5]:
            raise Refused(f"{cell}_concat must be the four intermediate nodes [2, 3, 4, 5], got {shown(concat, 60)}")
    return Genotype(space, choices)


def _recurrent(fields: Mapping[str | None, ast.expr]) -> Genotype:
    """``Genotype(recurrent=[('relu', 0), ('tanh', 1), ...], concat=range(1, 9))``: node i takes the i-th entry."""
    if set(fields) != {"recurrent", "concat"}:
        raise Refused(f"a recurrent Genotype(...) text has the fields recurrent, concat; got {shown(list(fields), 60)}")
    rows = _cell(fields["recurrent"], "recurrent", inputs=1)
    concat = _literal(fields["concat"], "concat")
    count = len(concat) if isinstance(concat, (list, tuple)) else 0
    if not count or list(concat) != list(range(1, count + 1)):
        raise Refused(
            f"concat of a recurrent cell must be all of its nodes, such as range(1, 9), got {shown(concat, 60)}"
        )
    beyond = [row for row in rows if int(row.partition("->")[2]) > count]
    if beyond:
        raise Refused(f"concat of a recurrent cell must be all of its nodes, but {beyond[0]} leads to another")
    return Genotype("recurrent", {"recurrent": rows})


def _literal(node: ast.expr, what: str) -> Any:
    """The value of a literal, or of ``range(a, b)`` of two small integers."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        bounds = [
            bound.value for bound in node.args if isinstance(bound, ast.Constant) and isinstance(bound.value, int)
        ]
        if len(bounds) == len(node.args) == 2 and not node.keywords and max(bounds) < 100:
            return list(range(*bounds))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise Refused(f"{what} of a Genotype(...) text must be a literal list") from None


def _cell(node: ast.expr, cell: str, inputs: int = 2) -> dict[str, tuple[str, ...]]:
    """Rows of a cell that has so many inputs, of which every node takes as many."""
    rows: dict[str, tuple[str, ...]] = {}
    entries = _literal(node, cell)
    if not isinstance(entries, (list, tuple)):
        raise Refused(f"{cell} of a Genotype(...) text must be a list of (operation, input) pairs")
    for index, entry in enumerate(entries):
        types = [type(part) for part in entry] if isinstance(entry, (list, tuple)) else []
        if types == [str, int]:
            operation, source = entry
            target = inputs + index // inputs
        elif types == [str, int, int]:
            operation, target, source = entry
        else:
            raise Refused(
                f"{cell}[{index}] must be (operation, input) or (operation, node, input), got {shown(entry, 60)}"
            )
        if len(entry) != len(entries[0]):
            raise Refused(f"{cell} must list either (operation, input) or (operation, node, input), not both")
        if target > LARGEST_NODE:
            raise Refused(f"{cell}[{index}]: a node's number is at most {LARGEST_NODE}")
        if not 0 <= source < target:
            raise Refused(f"{cell}[{index}]: node {target} can take inputs 0 to {target - 1}, got {shown(source, 60)}")
        row = f"{source}->{target}"
        if operation != "none":
            rows[row] = (*rows.get(row, ()), operation)
    if entries and len(entries[0]) == 2 and len(entries) % inputs:
        raise Refused(f"{cell} lists {len(entries)} (operation, input) pairs; every node takes two")
    return rows


def end(text: str, place: int) -> int | None:
    """The end of what a bracket before ``place`` opens; None if it is not closed in time."""
    depth = 1
    for match in _BRACKETS.finditer(text, place, place + LONGEST_PYTHON):
        depth += (match[0] in "([{") - (match[0] in ")]}")
        if depth == 0:
            return match.end()
    return None


def write(genotype: Genotype, inputs: int = 2, nodes: int = 4) -> str:
    """Of cells with so many inputs and nodes: pairs where every node takes as many inputs as the cell has, else
    triples."""
    numbers = range(inputs, inputs + nodes)
    cells = {
        cell: [(name, node, k) for node in numbers for k in range(node) for name in rows.get(f"{k}->{node}", ())]
        for cell, rows in genotype.choices.items()
    }
    usual = [node for node in numbers for _ in range(inputs)]
    regular = all([node for _, node, _ in entries] == usual for entries in cells.values())
    parts = []
    for cell, entries in cells.items():
        shown = [(name, source) for name, _, source in entries] if regular else entries
        concat = "concat" if cell == "recurrent" else f"{cell}_concat"
        parts.append(f"{cell}={shown}, {concat}={numbers}")
    return f"Genotype({', '.join(parts)})"


NOTATIONS.add("call")(
    Notation(
        form="Genotype(normal=[('sep_conv_3x3', 1), ...], ...)",
        meant="Genotype",
        within=r"\bGenotype\(",
        read=read,
        end=end,
    )
)
