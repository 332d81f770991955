"""S1-S4: the four reduced spaces in which plain DARTS fails (Zela et al., RobustDARTS, arXiv:1909.09656, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from poise.spaces.darts import CellSpace, SameEverywhere
from poise.spaces.space import SPACES

_SHORT = {
    "skip": "skip_connect",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "sep3": "sep_conv_3x3",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}

S1_NORMAL = """
skip/dil3 skip/dil5
skip/dil5 skip/sep3 skip/dil3
max/skip skip/sep3 skip/sep3 skip/dil3
skip/sep3 max/skip skip/dil3 dil3/dil5 dil3/dil5
"""

S1_REDUCE = """
max/avg max/dil3
max/avg max/avg skip/dil5
max/avg max/sep3 skip/dil3 skip/dil5
max/avg max/avg skip/dil5 skip/dil5 skip/dil5
"""


def _edges(text: str) -> tuple[tuple[str, ...], ...]:
    """One line per node, one entry per edge, the edge's two candidates apart by a slash."""
    return tuple(tuple(_SHORT[short] for short in entry.split("/")) for entry in text.split())


@SPACES.add("s1")
@dataclass(frozen=True)
class S1(CellSpace):
    """S1: two candidates per edge, pre-selected for each edge."""

    name: ClassVar[str] = "s1"

    def edge_candidates(self) -> tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]:
        return _edges(S1_NORMAL), _edges(S1_REDUCE)


@SPACES.add("s2")
@dataclass(frozen=True)
class S2(SameEverywhere):
    """S2: skip_connect or sep_conv_3x3 on every edge."""

    name: ClassVar[str] = "s2"
    candidates: ClassVar[tuple[str, ...]] = ("skip_connect", "sep_conv_3x3")


@SPACES.add("s3")
@dataclass(frozen=True)
class S3(SameEverywhere):
    """S3: none, skip_connect or sep_conv_3x3 on every edge."""

    name: ClassVar[str] = "s3"
    candidates: ClassVar[tuple[str, ...]] = ("none", "skip_connect", "sep_conv_3x3")


@SPACES.add("s4")
@dataclass(frozen=True)
class S4(SameEverywhere):
    """S4: noise or sep_conv_3x3 on every edge; noise is standard normal, whatever its input."""

    name: ClassVar[str] = "s4"
    candidates: ClassVar[tuple[str, ...]] = ("noise", "sep_conv_3x3")
