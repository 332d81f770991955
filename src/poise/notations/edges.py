"""NAS-Bench-201's string, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``: the operation of every edge, node by node."""

from __future__ import annotations

import re

from poise.errors import Refused
from poise.genotype import NOTATIONS, Genotype, Notation

_EDGE = re.compile(r"([A-Za-z0-9_]+)~([0-9])")


def read(text: str, space: str) -> Genotype:
    """Rows ``0->1``, ``0->2``, ``1->2``, ...; ``none`` keeps nothing. The space is NAS-Bench-201's, not ``space``."""
    rows: dict[str, tuple[str, ...]] = {}
    nodes = text.split("+")
    for target, node in enumerate(nodes, start=1):
        entries = node.strip("|").split("|")
        if node != "|" + "|".join(entries) + "|" or len(entries) != target:
            raise Refused(
                f"not a NAS-Bench-201 string: node {target} needs {target} entries |op~input|, got {node[:60]!r}"
            )
        for source, entry in enumerate(entries):
            match = _EDGE.fullmatch(entry)
            if match is None or int(match[2]) != source:
                raise Refused(f"not a NAS-Bench-201 string: expected op~{source} in node {target}, got {entry[:60]!r}")
            if match[1] != "none":
                rows[f"{source}->{target}"] = (match[1],)
    if len(nodes) != 3:
        raise Refused(f"not a NAS-Bench-201 string: expected 3 nodes joined by '+', got {len(nodes)}")
    return Genotype("nasbench201", {"cell": rows})


def write(genotype: Genotype) -> str:
    """An edge that keeps nothing is ``none``."""
    rows = genotype.choices["cell"]
    nodes = [[rows.get(f"{source}->{target}", ("none",))[0] for source in range(target)] for target in (1, 2, 3)]
    return "+".join("|" + "|".join(f"{name}~{source}" for source, name in enumerate(names)) + "|" for names in nodes)


NOTATIONS.add("edges")(
    Notation(
        form="a NAS-Bench-201 string |op~0|+|op~0|op~1|+...", meant=r"\A\|", within=r"\|[\w~|+]*~[\w~|+]*\|", read=read
    )
)
