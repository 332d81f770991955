"""Magnitude and threshold selection on alphas written by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from poise.errors import Refused
from poise.selection import SELECTIONS, Magnitude, Threshold
from poise.spaces import NasBench201
from poise.supernet.groups import ChoiceGroup, Row
from selection.selection_fakes import Fake, cell, free

CELL = cell(["none", "a", "b"])
NORMAL = [
    [0.90, 0.06, 0.04],  # 0->2: kept (node 2 has two inputs only), a; none does not count
    [0.10, 0.20, 0.70],  # 1->2: b
    [0.99, 0.005, 0.005],  # 0->3: dropped: its none does not count
    [0.10, 0.45, 0.45],  # 1->3: tie of candidates: a, the first
    [0.20, 0.50, 0.30],  # 2->3: a
    [0.40, 0.30, 0.30],  # 0->4: tie of edges: the first two of 0, 1, 2
    [0.40, 0.30, 0.30],  # 1->4
    [0.40, 0.30, 0.30],  # 2->4
    [0.80, 0.10, 0.10],  # 3->4
]


def test_magnitude_in_a_cell() -> None:
    kept = Magnitude()(Fake({"normal": NORMAL}, [CELL]))
    assert kept == {"normal": ((1,), (2,), (), (1,), (1,), (1,), (1,), (), ())}


def test_magnitude_ranks_edges_by_their_best_candidate_not_their_sum() -> None:
    values = [[0.4, 0.3, 0.3]] * 9
    values[2], values[3], values[4] = [0.0, 0.5, 0.5], [0.3, 0.6, 0.1], [0.2, 0.1, 0.7]
    kept = Magnitude()(Fake({"normal": values}, [CELL]))
    assert kept["normal"][2:5] == ((), (1,), (2,))


def test_magnitude_of_independent_rows_counts_none() -> None:
    group = free(["none", "a", "b"], rows=3)
    kept = Magnitude()(Fake({"cell": [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]]}, [group]))
    assert kept == {"cell": ((0,), (2,), (0,))}


def test_magnitude_of_two_groups() -> None:
    reduce = cell(["a", "b"], "reduce")
    values = {"normal": NORMAL, "reduce": [[0.4, 0.6]] * 9}
    kept = Magnitude()(Fake(values, [CELL, reduce]))
    assert kept["reduce"] == ((1,), (1,), (1,), (1,), (), (1,), (1,), (), ())
    assert kept["normal"] == Magnitude()(Fake({"normal": NORMAL}, [CELL]))["normal"]


FAIR = cell(["a", "b", "c"])
SIGMAS = [
    [0.90, 0.10, 0.20],  # 0->2
    [0.84, 0.30, 0.10],  # 1->2: below
    [0.95, 0.86, 0.90],  # 0->3: three reach it
    [0.85, 0.20, 0.10],  # 1->3: exactly at the threshold
    [0.86, 0.87, 0.10],  # 2->3
    [0.10, 0.20, 0.30],  # node 4: nothing
    [0.10, 0.20, 0.30],
    [0.10, 0.20, 0.30],
    [0.10, 0.20, 0.30],
]


def test_threshold_sparse() -> None:
    """Two strongest edges per node, their best candidate if it reaches 0.85; a node can stay empty."""
    trained = Fake({"normal": SIGMAS}, [FAIR])
    assert Threshold()(trained) == {"normal": ((0,), (), (0,), (), (1,), (), (), (), ())}
    assert trained.notes == []


def test_threshold_edge() -> None:
    """Every edge, at most its two best candidates that reach it, the better one first."""
    kept = Threshold(form="edge")(Fake({"normal": SIGMAS}, [FAIR]))
    assert kept == {"normal": ((0,), (), (0, 2), (0,), (1, 0), (), (), (), ())}


def test_threshold_is_inclusive_and_settable() -> None:
    values = [[0.5, 0.1, 0.1], *[[0.49, 0.1, 0.1]] * 8]
    kept = Threshold(threshold=0.5)(Fake({"normal": values}, [FAIR]))
    assert kept["normal"] == ((0,), *[()] * 8)


def test_threshold_never_keeps_none_in_a_cell_but_lets_it_win_elsewhere() -> None:
    kept = Threshold()(Fake({"normal": [[0.99, 0.9, 0.1]] * 9}, [CELL]))
    assert kept["normal"] == ((1,), (1,), (1,), (1,), (), (1,), (1,), (), ())
    kept = Threshold()(Fake({"cell": [[0.99, 0.9, 0.1], [0.86, 0.9, 0.1]]}, [free(["none", "a", "b"])]))
    assert kept == {"cell": ((0,), (1,))}


def test_threshold_may_leave_an_isolated_source() -> None:
    values = [[0.1, 0.1, 0.1]] * 9
    values[2] = values[7] = [0.9, 0.1, 0.1]  # 0->3, and 2->4, which reads the isolated node 2
    assert Threshold()(Fake({"normal": values}, [FAIR]))["normal"] == ((), (), (0,), (), (), (), (), (0,), ())


def test_nothing_reaches_the_threshold() -> None:
    """A note with the numbers, then the same rule without a threshold."""
    values = {"normal": [[0.2, 0.612, 0.4]] * 9}
    trained = Fake(values, [FAIR], valid=lambda kept: any(kept["normal"]))
    assert Threshold()(trained) == {"normal": ((1,), (1,), (1,), (1,), (), (1,), (1,), (), ())}
    (note,) = trained.notes
    assert "0.85" in note
    assert "largest: 0.61" in note
    trained = Fake(values, [FAIR], valid=lambda kept: any(kept["normal"]))
    assert Threshold(form="edge")(trained) == {"normal": ((1, 2),) * 9}


def test_rows_that_must_keep_a_candidate() -> None:
    """`Choice` layers: the best candidate stays, above the threshold or not; one in either case."""
    group = ChoiceGroup("layer", 2, (Row("choice", ("a", "b", "c")),), min_kept=1, max_kept=1)
    assert Threshold()(Fake({"layer": [[0.1, 0.3, 0.2]]}, [group])) == {"layer": ((1,),)}
    assert Threshold()(Fake({"layer": [[0.9, 0.3, 0.95]]}, [group])) == {"layer": ((2,),)}


@pytest.mark.parametrize(
    "settings", [{"form": "both"}, {"threshold": 1.1}, {"threshold": -0.1}, {"threshold": float("nan")}]
)
def test_threshold_refuses_wrong_settings(settings: dict[str, object]) -> None:
    with pytest.raises(Refused):
        Threshold(**settings)  # type: ignore[arg-type]


def test_conflicts() -> None:
    trains, blank = (SimpleNamespace(trains_alphas=lambda epochs, it=it: it) for it in (True, False))
    assert Magnitude().conflict(trains, [CELL], 5) is None
    assert Threshold(form="edge").conflict(trains, [CELL], 5) is None
    for rule in (Magnitude(), Threshold()):
        assert "perturbation" in (rule.conflict(blank, [CELL], 5) or "")
    assert "'cell'" in (Threshold(form="edge").conflict(trains, [CELL, free(["a", "b"])], 5) or "")
    assert Threshold().conflict(trains, [free(["a", "b"])], 5) is None


def test_every_rule_is_registered_under_its_kind() -> None:
    assert {"magnitude", "threshold", "perturbation"} <= set(SELECTIONS)
    for kind, rule in SELECTIONS.items():
        assert rule.kind == kind  # type: ignore[attr-defined]


def test_probabilities_of_any_dtype() -> None:
    trained = Fake({"normal": NORMAL}, [CELL])
    trained.values = {"normal": torch.tensor(NORMAL, dtype=torch.float32)}
    assert Magnitude()(trained)["normal"][1] == (2,)


def test_a_cell_that_would_keep_nothing_at_all_is_selected_without_threshold() -> None:
    """NAS-Bench-201's empty cell is valid, so the space does not object: the rule itself must."""
    group = NasBench201(4, 1).groups[0]
    values = torch.full(group.shape, 0.2)
    values[:, 2] = 0.6
    trained = Fake({"cell": values}, [group])
    assert Threshold()(trained)["cell"] == ((2,),) * 6
    assert len(trained.notes) == 1
    values[0, 2] = 0.9
    some = Fake({"cell": values}, [group])
    assert Threshold()(some)["cell"] == ((2,), *[()] * 5)
    assert some.notes == []
