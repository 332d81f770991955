"""The discrete architecture: which candidates each choice keeps. Frozen, validated, versioned JSON; knows nothing else.

A genotype names a search space and, for every choice group, the candidates that each row keeps::

    Genotype("darts", {"normal": {"0->2": ("sep_conv_3x3",), "1->2": ("skip_connect",)}, "reduce": {...}})

A row may keep no candidate (it is left out), one, or several: Fair DARTS produces all three. Whether a genotype makes
sense in its space is the space's to say (`Space.check`).
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from poise.errors import Refused, shown

FORMAT = "poise.genotype"
VERSION = 1
LONGEST = 1_000_000
"""Characters; a longer text is no genotype."""
LONGEST_PYTHON = 65_536
"""Characters of a Python text, whose parser takes far more memory than the text; the papers' have about 1,000."""
LARGEST_NODE = 99
"""In a Python text; a larger number is no node of a cell."""

Choices = Mapping[str, Mapping[str, tuple[str, ...]]]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.>:-]{0,199}")
_NASBENCH201_ROW = re.compile(r"([A-Za-z0-9_]+)~([0-9])")
_NASBENCH101 = re.compile(r"([01]+)\s+input,((?:[A-Za-z0-9-]+,)+)output")
_WITHIN = re.compile(
    r"(?P<python>\bGenotype\()|\|[\w~|+]*~[\w~|+]*\||(?<!\w)[01]{9,}\s+input,(?:[A-Za-z0-9-]+,)+output"
)
"""Where a genotype begins in a longer text; one that is no Python text also ends there."""
_BRACKETS = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[()\[\]{}]""")
_INPUTS = {
    (1, 2, 2, 2, 2): "nasbench1shot1-1",
    (1, 1, 2, 2, 3): "nasbench1shot1-2",
    (1, 1, 1, 2, 2, 2): "nasbench1shot1-3",
}
"""How many inputs the blocks and the output take -> the space of NAS-Bench-1Shot1."""


def checked_name(value: object, what: str) -> str:
    """The value, if it can name something in a genotype; else `Refused`."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Refused(f"{what} in a genotype must be a name of letters, digits and _ . : > -, got {shown(value, 60)}")
    return value


@dataclass(frozen=True)
class Genotype:
    """A discrete architecture.

    Args:
        space: name of the search space that it belongs to.
        choices: group -> row -> candidates kept. Rows that keep nothing are left out; order does not matter.

    Raises:
        Refused: a name is not a name, a candidate stands twice in a row.
    """

    space: str
    choices: Choices

    def __post_init__(self) -> None:
        checked_name(self.space, "the space")
        if not isinstance(self.choices, Mapping):
            raise Refused(f"a genotype's choices must map groups to rows, got {type(self.choices).__name__}")
        frozen: dict[str, Mapping[str, tuple[str, ...]]] = {}
        for group, rows in sorted(self.choices.items(), key=lambda item: str(item[0])):
            checked_name(group, "a group")
            if not isinstance(rows, Mapping):
                raise Refused(f"group {group!r} of a genotype must map rows to candidates, got {type(rows).__name__}")
            kept: dict[str, tuple[str, ...]] = {}
            for row, candidates in sorted(rows.items(), key=lambda item: str(item[0])):
                checked_name(row, "a row")
                if not isinstance(candidates, (tuple, list)):
                    raise Refused(f"row {row!r} of a genotype must list its candidates, got {shown(candidates, 60)}")
                names = tuple(
                    sorted(checked_name(candidate, f"a candidate of row {row!r}") for candidate in candidates)
                )
                if len(set(names)) < len(names):
                    raise Refused(f"row {row!r} of a genotype names a candidate twice: {', '.join(names)[:200]}")
                if names:
                    kept[row] = names
            frozen[group] = MappingProxyType(kept)
        object.__setattr__(self, "choices", MappingProxyType(frozen))

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[type[Genotype], tuple[str, dict[str, dict[str, tuple[str, ...]]]]]:
        return Genotype, (self.space, {group: dict(rows) for group, rows in self.choices.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, as they stand in the JSON form."""
        choices = {group: {row: list(kept) for row, kept in rows.items()} for group, rows in self.choices.items()}
        return {"format": FORMAT, "version": VERSION, "space": self.space, "choices": choices}

    def to_json(self) -> str:
        """The versioned JSON form; `from_json` is its exact inverse."""
        return json.dumps(self.to_dict(), indent=2)

    @staticmethod
    def from_json(text: str) -> Genotype:
        """Read the JSON form. Raises `Refused` on anything that is not exactly one."""
        if len(text) > LONGEST:
            raise Refused(f"a genotype has at most {LONGEST:,} characters, got {len(text):,}")
        try:
            value = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise Refused(f"not a genotype: the JSON is damaged ({error})") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise Refused(f'not a genotype: expected a JSON object with "format": "{FORMAT}"')
        if type(value.get("version")) is not int or value["version"] != VERSION:
            raise Refused(
                f"genotype version {shown(value.get('version'), 60)} is not supported; this poise reads {VERSION}"
            )
        if set(value) != {"format", "version", "space", "choices"}:
            raise Refused(f"a genotype has the keys format, version, space, choices; got {shown(list(value), 60)}")
        return Genotype(value["space"], value["choices"])

    @staticmethod
    def parse(text: str, space: str = "darts") -> Genotype:
        """Read a genotype in any notation: poise's JSON, the DARTS papers' Python text, a NAS-Bench-201 string, or a
        cell of NAS-Bench-1Shot1 as NAS-Bench-101 writes it: adjacency matrix and labels, with a blank between.

        The Python text is read by a parser that knows only literals; nothing is evaluated. Its entries are
        ``(operation, input)``, two per node (one in a recurrent cell), or Fair DARTS's ``(operation, node, input)``.
        Around a genotype that is not JSON there may be other text, such as the rest of a log's line.

        Args:
            text: the genotype.
            space: the cell space that a Python text belongs to (``darts``, ``s1`` ... ``s4``); that of a recurrent cell
                says so itself.

        Raises:
            Refused: there is no genotype in it, a malformed one, or several that differ.
        """
        text = text.strip()
        if len(text) > LONGEST:
            raise Refused(f"a genotype has at most {LONGEST:,} characters, got {len(text):,}")
        if text.startswith("{"):
            return Genotype.from_json(text)
        found: dict[Genotype, int] = {}
        for start, part in _within(text):
            found.setdefault(_parsed(part, space), text.count("\n", 0, start) + 1)
        if len(found) > 1:
            lines = [str(line) for line in found.values()]
            shown = ", ".join(lines if len(lines) < 6 else [*lines[:3], "...", lines[-1]])
            raise Refused(f"{len(found)} different genotypes stand in the text (lines {shown}); keep the one you mean")
        return next(iter(found), None) or _parsed(text, space)


def _within(text: str) -> Iterator[tuple[int, str]]:
    """What looks like a genotype in a text, and where it starts."""
    place = 0
    while match := _WITHIN.search(text, place):
        end = match.end() if match["python"] is None else _closed(text, match.end())
        if end is None:  # a bracket that is never closed: all that follows is inside
            return
        yield match.start(), text[match.start() : end]
        place = end


def _closed(text: str, place: int) -> int | None:
    """The end of what a bracket before ``place`` opens; None if it is not closed in time."""
    depth = 1
    for match in _BRACKETS.finditer(text, place, place + LONGEST_PYTHON):
        depth += (match[0] in "([{") - (match[0] in ")]}")
        if depth == 0:
            return match.end()
    return None


def _parsed(text: str, space: str) -> Genotype:
    """A text that is a genotype from its first character to its last."""
    if text.startswith("|"):
        return _parse_nasbench201(text)
    if re.match(r"[01]{4,}(\s|$)", text):
        return _parse_nasbench101(text)
    return _parse_python(text, space)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys stand once each."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _parse_nasbench201(text: str) -> Genotype:
    """``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`` -> rows ``0->1``, ``0->2``, ``1->2``, ...; ``none`` keeps nothing."""
    rows: dict[str, tuple[str, ...]] = {}
    nodes = text.split("+")
    for target, node in enumerate(nodes, start=1):
        entries = node.strip("|").split("|")
        if node != "|" + "|".join(entries) + "|" or len(entries) != target:
            raise Refused(
                f"not a NAS-Bench-201 string: node {target} needs {target} entries |op~input|, got {node[:60]!r}"
            )
        for source, entry in enumerate(entries):
            match = _NASBENCH201_ROW.fullmatch(entry)
            if match is None or int(match[2]) != source:
                raise Refused(f"not a NAS-Bench-201 string: expected op~{source} in node {target}, got {entry[:60]!r}")
            if match[1] != "none":
                rows[f"{source}->{target}"] = (match[1],)
    if len(nodes) != 3:
        raise Refused(f"not a NAS-Bench-201 string: expected 3 nodes joined by '+', got {len(nodes)}")
    return Genotype("nasbench201", {"cell": rows})


def _parse_nasbench101(text: str) -> Genotype:
    """``0110…0 input,conv3x3-bn-relu,…,output`` of a cell with all its blocks -> operations, and the inputs of every
    vertex that does not take all there are."""
    match = _NASBENCH101.fullmatch(text)
    operations = match[2].rstrip(",").split(",") if match else []
    size = len(operations) + 2
    if match is None or len(match[1]) != size * size:
        raise Refused(
            "not a cell of NAS-Bench-101: expected an adjacency matrix of 0 and 1, a blank and its labels, "
            f"input,...,output; got {text[:80]!r}"
        )
    into = [
        [str(source) for source in range(size) if match[1][source * size + target] == "1"] for target in range(size)
    ]
    counts = tuple(map(len, into[1:]))
    if counts not in _INPUTS or any(int(source) >= target for target, found in enumerate(into) for source in found):
        known = "; ".join(f"{', '.join(map(str, inputs))} ({space})" for inputs, space in _INPUTS.items())
        raise Refused(f"a cell of NAS-Bench-1Shot1 takes from earlier vertices as many inputs as {known}; got {counts}")
    choices: dict[str, dict[str, tuple[str, ...]]] = {}
    choices["operations"] = {str(block): (name,) for block, name in enumerate(operations, start=1)}
    for vertex, found in enumerate(into[1:], start=1):
        if len(found) < vertex:
            choices["output" if vertex == size - 1 else f"input.{vertex}"] = {"vertices": tuple(found)}
    return Genotype(_INPUTS[counts], choices)


def _parse_python(text: str, space: str) -> Genotype:
    """``Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=..., reduce_concat=...)``."""
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
        raise Refused(
            "not a genotype: expected poise's JSON, Genotype(normal=[('sep_conv_3x3', 1), ...], ...), a NAS-Bench-201 "
            f"string |op~0|+|op~0|op~1|+... or a NAS-Bench-101 matrix and labels, got {text[:60]!r}"
        )
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
    rows = _cell(fields["recurrent"], "recurrent", first=1, inputs=1)
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


def _cell(node: ast.expr, cell: str, first: int = 2, inputs: int = 2) -> dict[str, tuple[str, ...]]:
    """Rows of a cell whose first node has this number, and in which every node takes so many inputs."""
    rows: dict[str, tuple[str, ...]] = {}
    entries = _literal(node, cell)
    if not isinstance(entries, (list, tuple)):
        raise Refused(f"{cell} of a Genotype(...) text must be a list of (operation, input) pairs")
    for index, entry in enumerate(entries):
        types = [type(part) for part in entry] if isinstance(entry, (list, tuple)) else []
        if types == [str, int]:
            operation, source = entry
            target = first + index // inputs
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
