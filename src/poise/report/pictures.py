"""Cells as a page draws them: the same staircase as in the figures, as places of lines, labels and nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from poise.genotype import Genotype
from poise.report.cell import BEND, RADIUS, cell_lanes, cell_size, node_columns
from poise.report.choices import LANE, PILL, TITLE, choice_rows
from poise.report.graph import cell_graph, is_cell
from poise.report.style import family
from poise.supernet.groups import ChoiceGroup

INCH = 80.0
"""Units of an inch of the layout: letters are 12 high."""
LETTER = 0.081
"""About the width of a letter, in inches."""
HEAD = 0.09
"""The length of an arrow's head, in inches."""


@dataclass(frozen=True)
class Line:
    """An arrow: a path, and the corners of its head."""

    path: str
    head: str
    live: bool


@dataclass(frozen=True)
class Pill:
    """A label with a border, around ``(x, y)``."""

    x: float
    y: float
    width: float
    height: float
    text: str
    family: str


@dataclass(frozen=True)
class Node:
    """A circle, and what is written beside it."""

    x: float
    y: float
    text: str
    kind: str
    live: bool
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A cell of ``width × height``; ``about`` says in words what it shows. ``bar``: the output that joins nodes, as
    ``(x, top, height, text)``."""

    group: str
    width: float
    height: float
    radius: float
    lines: tuple[Line, ...]
    pills: tuple[Pill, ...]
    nodes: tuple[Node, ...]
    bar: tuple[float, float, float, str] | None
    about: str


def pictures(genotype: Genotype, groups: Sequence[ChoiceGroup]) -> list[Picture]:
    """Every group that is a cell, drawn."""
    return [picture(genotype, group) for group in groups if is_cell(group)]


def chips(genotype: Genotype, groups: Sequence[ChoiceGroup]) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Every choice that is no edge of a cell: its label, and its candidates, each with whether it is kept."""
    found = []
    for group, row, label, candidates in choice_rows([group for group in groups if not is_cell(group)]):
        kept = genotype.choices.get(group, {}).get(row, ())
        found.append((label, [(name, name in kept) for name in candidates]))
    return found


def picture(genotype: Genotype, group: ChoiceGroup) -> Picture:
    """One cell, drawn."""
    graph = cell_graph(genotype, group)
    widest = max((LETTER * len(operation) for *_, operation in graph.edges(data="operation")), default=0.5)
    lanes, columns = cell_lanes(graph), node_columns(graph, widest)
    size = cell_size(graph, widest)
    start = -TITLE - 0.65 * LANE
    heights = dict.fromkeys(columns, start)
    heights |= {node: sum(lane[0] for lane in found) / len(found) for node, found in lanes.items()}
    top = start + 0.45  # the figure's title is the page's
    lines: list[Line] = []
    pills: list[Pill] = []
    for node, found in lanes.items():
        for y, source, operation, live in found:
            if operation:
                end = columns[node] - RADIUS - 0.22
                x = columns[source]
                path = (
                    f"M{_at(x, heights[source], top)}L{_at(x, y + BEND, top)}Q{_at(x, y, top)} {_at(x + BEND, y, top)}"
                )
                target = _towards((end, y), (columns[node], heights[node]))
                lines.append(Line(f"{path}L{_at(end, y, top)}L{_at(*target, top)}", _head((end, y), target, top), live))
                width = LETTER * len(operation) + 0.18
                pills.append(
                    Pill(
                        _units(end - width / 2), _units(top - y), _units(width), _units(PILL), operation,
                        family(operation) if live else "dead",
                    )
                )  # fmt: skip
    bar = None
    if graph.graph["joined"]:
        nodes = [node for node, kind in graph.nodes(data="kind") if kind == "node"]
        x = max(columns.values()) + 0.5
        high = max(heights[node] for node in nodes) + RADIUS
        low = min(heights[node] for node in nodes) - RADIUS
        bar = (_units(x), _units(top - high), _units(high - low), str(graph.graph["joined"]))
        for node in nodes:
            if graph.nodes[node]["live"]:
                begin, end_ = (columns[node] + RADIUS, heights[node]), (x, heights[node])
                lines.append(Line(f"M{_at(*begin, top)}L{_at(*end_, top)}", _head(begin, end_, top), True))
    return Picture(
        group.name, _units(size[0] + 0.1), _units(size[1] + top), _units(RADIUS), tuple(lines), tuple(pills),
        tuple(_nodes(graph, columns, heights, top)), bar, _about(group.name, graph),
    )  # fmt: skip


def _nodes(graph: nx.MultiDiGraph, columns: dict[int, float], heights: dict[int, float], top: float) -> Sequence[Node]:
    names = {0: "input"} if graph.graph["inputs"] == 1 else {0: "cell k−2", 1: "cell k−1"}
    found = []
    for node, data in graph.nodes(data=True):
        caption = names.get(node, "") if data["kind"] == "input" else "output" if data["kind"] == "output" else ""
        if data["kind"] == "node" and graph.in_degree(node) == 0:
            caption = "unused"
        place = _units(columns[node]), _units(top - heights[node])
        found.append(Node(*place, str(node), data["kind"], bool(data["live"]), caption))
    return found


def _about(name: str, graph: nx.MultiDiGraph) -> str:
    """The cell in words."""
    parts = []
    for node, kind in graph.nodes(data="kind"):
        edges = sorted((source, operation) for source, _, operation in graph.in_edges(node, data="operation"))
        if kind != "input":
            takes = ", ".join(f"{operation} of {source}" for source, operation in edges) or "nothing"
            parts.append(f"{'the output' if kind == 'output' else f'node {node}'} takes {takes}")
    return f"{name if name == 'cell' else f'{name} cell'}: {'; '.join(parts)}."


def _units(inches: float) -> float:
    return round(inches * INCH, 1)


def _at(x: float, y: float, top: float) -> str:
    return f"{_units(x):g} {_units(top - y):g}"


def _towards(begin: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Where a line to the centre of a node meets its circle."""
    length = math.dist(begin, end)
    share = (length - RADIUS) / length
    return begin[0] + share * (end[0] - begin[0]), begin[1] + share * (end[1] - begin[1])


def _head(begin: tuple[float, float], end: tuple[float, float], top: float) -> str:
    """The corners of an arrow's head at the end of a line."""
    length = math.dist(begin, end)
    x, y = (end[0] - begin[0]) / length * HEAD, (end[1] - begin[1]) / length * HEAD
    left, right = (end[0] - x - y / 2, end[1] - y + x / 2), (end[0] - x + y / 2, end[1] - y - x / 2)
    return ",".join(_at(*point, top) for point in (end, left, right))
