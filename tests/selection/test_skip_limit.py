"""The limit of skip connections (P-DARTS), worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from poise.errors import Refused
from poise.selection.magnitude import Magnitude
from poise.supernet.groups import ChoiceGroup, Kept, Row

NONE, SKIP, SEP = 0, 1, 2
NAMES = ("none", "skip_connect", "sep")
EDGES = ("0->2", "1->2", "0->3", "1->3", "2->3")
NODES = ((0, 1), (2, 3, 4))


class Learnt:
    """A trained supernet of these weights; it hears notes."""

    def __init__(self, groups: tuple[ChoiceGroup, ...], values: dict[str, Tensor]) -> None:
        self.groups, self.values = groups, values
        self.notes: list[str] = []

    def probabilities(self) -> dict[str, Tensor]:
        return self.values

    def note(self, message: str) -> None:
        self.notes.append(message)


def cell(name: str = "normal", names: tuple[str, ...] = NAMES, **more: Any) -> ChoiceGroup:
    rows = tuple(Row(edge, names) for edge in EDGES)
    return ChoiceGroup(name, 2, rows, nodes=NODES, inputs=2, **more)


WEIGHTS = torch.tensor(
    [
        [0.0, 0.50, 0.40],  # 0->2  skip 0.50
        [0.0, 0.60, 0.30],  # 1->2  skip 0.60
        [0.9, 0.55, 0.10],  # 0->3  skip 0.55
        [0.0, 0.45, 0.20],  # 1->3  skip 0.45
        [0.0, 0.10, 0.30],  # 2->3  sep 0.30
    ]
)
EXPECTED = {
    None: ((SKIP,), (SKIP,), (SKIP,), (SKIP,), ()),
    4: ((SKIP,), (SKIP,), (SKIP,), (SKIP,), ()),
    # 1->3 loses its 0.45: 0.20 is left, and 2->3 with 0.30 takes its place in the node.
    3: ((SKIP,), (SKIP,), (SKIP,), (), (SEP,)),
    # 0->2 loses its 0.50, and stays with 0.40, since its node has no other input.
    2: ((SEP,), (SKIP,), (SKIP,), (), (SEP,)),
    # 0->3 loses its 0.55: 0.10 is left, and 1->3 comes back with 0.20.
    1: ((SEP,), (SKIP,), (), (SEP,), (SEP,)),
    0: ((SEP,), (SEP,), (), (SEP,), (SEP,)),
}


@pytest.mark.parametrize("skips", EXPECTED)
def test_the_weakest_goes_and_the_cell_is_derived_again(skips: int | None) -> None:
    before = WEIGHTS.clone()
    trained: Any = Learnt((cell(),), {"normal": WEIGHTS})
    assert Magnitude(skips)(trained) == {"normal": EXPECTED[skips]}
    assert torch.equal(WEIGHTS, before), "what was learnt stays as it is"
    assert trained.notes == []


def test_reduction_cells_have_no_limit() -> None:
    groups = (cell(), cell("reduce", aligned=False))
    found: Kept = Magnitude(0)(Learnt(groups, {"normal": WEIGHTS, "reduce": WEIGHTS}))  # type: ignore[arg-type]
    assert found == {"normal": EXPECTED[0], "reduce": EXPECTED[None]}


def test_rows_that_are_choices_of_their_own() -> None:
    group = ChoiceGroup("cell", 2, tuple(Row(edge, NAMES) for edge in EDGES), max_kept=1)
    trained: Any = Learnt((group,), {"cell": WEIGHTS})
    assert Magnitude(1)(trained) == {"cell": ((SEP,), (SKIP,), (NONE,), (SEP,), (SEP,))}


def test_weights_of_edges_count() -> None:
    """The weakest skip is the one of the smallest ``β·p``: 1->2 with 0.1·0.6."""
    scales = ChoiceGroup("normal.2", 2, (Row("into 2", EDGES[:2]),), aligned=False, scales=("normal", (0, 1)))
    trained: Any = Learnt((cell(), scales), {"normal": WEIGHTS, "normal.2": torch.tensor([[0.9, 0.1]])})
    assert Magnitude(3)(trained)["normal"] == ((SKIP,), (SEP,), (SKIP,), (SKIP,), ())


def test_where_nothing_else_is_left() -> None:
    """Rows of ``none`` and ``skip_connect``: a node of two inputs keeps both, whatever the limit."""
    trained: Any = Learnt((cell(names=("none", "skip_connect")),), {"normal": WEIGHTS[:, :2]})
    Magnitude(1)(trained)
    assert trained.notes == ["normal keeps 4 skip connections, for want of anything else"]


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(Refused, match="at least 0, got -1"):
        Magnitude(-1)
