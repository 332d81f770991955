"""A genotype drawn: cells as staircases in which no two labels can meet, other choices as rows of chips.

Every operation has a horizontal lane of its own and every node a vertical trunk; nodes stand further right and further
down than all that they read. So lines cross at right angles at most, and a label lies on its own lane.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path

from poise.genotype import Genotype
from poise.report.choices import LANE, TITLE, choices_size, draw_choices, draw_pill
from poise.report.graph import cell_graph, is_cell
from poise.report.style import FAINT, INK, LINE, RC, family_colour, text_width
from poise.supernet.groups import ChoiceGroup

RADIUS, BEND, MARGIN = 0.15, 0.12, 0.2
"""Inches."""

ARROW = "-|>,head_length=3.5,head_width=2"


def cell_figure(genotype: Genotype, groups: Sequence[ChoiceGroup]) -> Figure:
    """The genotype's choices: one drawing for every cell, one table for all groups that are no cells.

    Args:
        genotype: what to draw.
        groups: the groups of its space.
    """
    cells = [(group.name, cell_graph(genotype, group)) for group in groups if is_cell(group)]
    choices = [group for group in groups if not is_cell(group)]
    with mpl.rc_context(RC):
        labels = [label for _, graph in cells for *_, label in graph.edges(data="operation")]
        widest = max(map(text_width, labels), default=0.5)
        sizes = [cell_size(graph, widest) for _, graph in cells] + ([choices_size(choices)] if choices else [])
        width = max((size[0] for size in sizes), default=1.0) + 2 * MARGIN
        height = sum(size[1] for size in sizes) + MARGIN * (len(sizes) + 1)
        figure = Figure(figsize=(width, height))
        top = height
        for index, (_, panel) in enumerate(sizes):
            top -= panel + MARGIN
            axes = figure.add_axes((MARGIN / width, top / height, 1 - 2 * MARGIN / width, panel / height))
            axes.set(xlim=(0, width - 2 * MARGIN), ylim=(-panel, 0))
            axes.axis("off")
            if index < len(cells):
                _draw_cell(axes, *cells[index], widest)
            else:
                draw_choices(axes, genotype, choices)
    return figure


def cell_lanes(graph: nx.MultiDiGraph) -> dict[int, list[tuple[float, int, str, bool]]]:
    """Node -> its incoming operations as (height of the lane, source, operation, live)."""
    lanes: dict[int, list[tuple[float, int, str, bool]]] = {}
    height = -TITLE - 2 * LANE
    for node, kind in graph.nodes(data="kind"):
        if kind == "input":
            continue
        incoming = sorted(
            (source, data["operation"], data["live"]) for source, _, data in graph.in_edges(node, data=True)
        )
        lanes[node] = [(height - LANE * index, *edge) for index, edge in enumerate(incoming)]
        # a node without inputs has a lane too, so that no line passes through it
        lanes[node] = lanes[node] or [(height, -1, "", False)]
        height -= LANE * (len(lanes[node]) + 0.25)
    return lanes


def node_columns(graph: nx.MultiDiGraph, widest: float) -> dict[int, float]:
    """Node -> its horizontal place, with room for the widest label in front of it."""
    places: dict[int, float] = {}
    x = 0.3
    for node, kind in graph.nodes(data="kind"):
        if kind != "input":
            x += widest + 0.72
        places[node] = x
        x += 0.62 if kind == "input" and node + 1 < graph.graph["inputs"] else 0
    return places


def cell_size(graph: nx.MultiDiGraph, widest: float) -> tuple[float, float]:
    """Width and height of a cell in inches."""
    lowest = min(lane[0] for lanes in cell_lanes(graph).values() for lane in lanes)
    return max(node_columns(graph, widest).values()) + (1.0 if graph.graph["joined"] else 0.7), -lowest + LANE / 2


def _draw_cell(axes: Axes, name: str, graph: nx.MultiDiGraph, widest: float) -> None:
    lanes, columns = cell_lanes(graph), node_columns(graph, widest)
    axes.text(0, 0, name if name == "cell" else f"{name} cell", fontsize=11, weight="bold", va="top")
    start = -TITLE - 0.65 * LANE
    heights = dict.fromkeys(columns, start)
    heights |= {node: sum(lane[0] for lane in found) / len(found) for node, found in lanes.items()}
    for node, found in lanes.items():
        for y, source, operation, live in found:
            if operation:
                _draw_edge(axes, (columns[source], heights[source]), (columns[node], heights[node]), y, operation, live)
    if graph.graph["joined"]:
        _draw_concat(axes, graph, columns, heights)
    captions = {0: "input"} if graph.graph["inputs"] == 1 else {0: "cell k−2", 1: "cell k−1"}
    for node, data in graph.nodes(data=True):
        _draw_node(axes, columns[node], heights[node], str(node), data["kind"], data["live"])
        if data["kind"] == "input":
            axes.text(columns[node], start + 0.24, captions.get(node, ""), fontsize=7.5, ha="center", va="bottom")
        elif data["kind"] == "output":
            axes.text(columns[node] + 0.22, heights[node], "output", fontsize=7.5, va="center")
        elif graph.in_degree(node) == 0:
            axes.text(columns[node] - 0.22, heights[node], "unused", fontsize=7.5, color=LINE, ha="right", va="center")


def _draw_edge(
    axes: Axes, source: tuple[float, float], target: tuple[float, float], y: float, operation: str, live: bool
) -> None:
    """Down the source's trunk, along the lane to the label, and into the target."""
    colour, style = (LINE, "-") if live else (FAINT, (0, (2, 2)))
    end = target[0] - RADIUS - 0.22
    points = [(source[0], source[1]), (source[0], y + BEND), (source[0], y), (source[0] + BEND, y), (end, y)]
    codes = [Path.MOVETO, Path.LINETO, Path.CURVE3, Path.CURVE3, Path.LINETO]
    path = Path(points, codes)
    axes.add_patch(PathPatch(path, fill=False, edgecolor=colour, linewidth=1.2, linestyle=style, zorder=1))
    axes.add_patch(
        FancyArrowPatch(
            (end, y), target, arrowstyle=ARROW, shrinkB=RADIUS * 72, shrinkA=0, color=colour, linewidth=1.2, zorder=1
        )
    )
    draw_pill(axes, end, y, operation, family_colour(operation) if live else FAINT, live)


def _draw_node(axes: Axes, x: float, y: float, text: str, kind: str, live: bool) -> None:
    face, ink = ("white", INK) if kind == "node" else (INK, "white")
    edge, style = (INK, "-") if live else (LINE, (0, (2, 1.5)))
    if not live:
        face, ink = "#f3f4f6", LINE
    axes.add_patch(Circle((x, y), RADIUS, facecolor=face, edgecolor=edge, linewidth=1.3, linestyle=style, zorder=5))
    axes.text(x, y - 0.005, text, ha="center", va="center_baseline", color=ink, weight="bold", zorder=6)


def _draw_concat(axes: Axes, graph: nx.MultiDiGraph, columns: dict[int, float], heights: dict[int, float]) -> None:
    """The output: a bar at the right that all live intermediate nodes run into."""
    nodes = [node for node, data in graph.nodes(data=True) if data["kind"] == "node"]
    x = max(columns.values()) + 0.5
    top, bottom = max(heights[node] for node in nodes) + RADIUS, min(heights[node] for node in nodes) - RADIUS
    box = FancyBboxPatch((x, bottom), 0.3, top - bottom, boxstyle="round,pad=0,rounding_size=0.08", zorder=3)
    box.set(edgecolor=INK, facecolor=INK)
    axes.add_patch(box)
    middle, text = (top + bottom) / 2, graph.graph["joined"]
    axes.text(x + 0.14, middle, text, rotation=90, color="white", ha="center", va="center", zorder=4)
    for node in nodes:
        if graph.nodes[node]["live"]:
            ends = (columns[node] + RADIUS, heights[node]), (x, heights[node])
            arrow = FancyArrowPatch(*ends, arrowstyle=ARROW, shrinkA=0, shrinkB=0, zorder=1)
            arrow.set(color=LINE, linewidth=1.2)
            axes.add_patch(arrow)
