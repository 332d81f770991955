"""A cell of a genotype as a graph: its nodes, its operations, and what of it is dead."""

from __future__ import annotations

import re

import networkx as nx

from poise.genotype import Genotype
from poise.supernet.groups import ChoiceGroup

_EDGE = re.compile(r"(\d+)->(\d+)")


def is_cell(group: ChoiceGroup) -> bool:
    """Whether the group's rows are the edges of a cell, named ``source->target``."""
    return all(_EDGE.fullmatch(row.name) for row in group.rows)


def cell_graph(genotype: Genotype, group: ChoiceGroup) -> nx.MultiDiGraph:
    """The cell as a graph of whole numbers; every operation kept is an edge of its own.

    Node attributes: ``kind`` (``input``, ``node`` or ``output``) and ``live`` (an input of the cell reaches it). Edge
    attributes: ``operation`` and ``live``. In a cell of one input the last node is the output, unless its group says
    how all nodes are ``joined``; in one of several inputs the output is their concatenation. An output that joins nodes
    is no node of this graph, whose attribute ``joined`` says how; else that is None.
    """
    ends = [(int(match[1]), int(match[2])) for row in group.rows if (match := _EDGE.fullmatch(row.name))]
    targets = {target for _, target in ends}
    inputs = {source for source, _ in ends} - targets
    joined = group.joined or ("concat" if len(inputs) > 1 else None)
    graph = nx.MultiDiGraph(inputs=len(inputs), joined=joined)
    for node in sorted(inputs | targets):
        last = joined is None and node == max(targets)
        graph.add_node(node, kind="input" if node in inputs else "output" if last else "node", live=node in inputs)
    chosen = genotype.choices.get(group.name, {})
    for source, target in sorted(ends, key=lambda edge: (edge[1], edge[0])):
        for operation in chosen.get(f"{source}->{target}", ()):
            live = graph.nodes[source]["live"]
            graph.add_edge(source, target, operation=operation, live=live)
            graph.nodes[target]["live"] |= live
    return graph
