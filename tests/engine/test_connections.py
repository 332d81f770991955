"""PC-DARTS: partial channels and the weights of edges; the supernet itself is compared in tests/supernet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from engine_support import TASK, searcher, state_of
from torch import Tensor

from poise.engine.search import search
from poise.errors import Refused
from poise.methods import FullConnections, Method, PartialConnections, RandomSmoothing, ZeroOne
from poise.selection.magnitude import Magnitude
from poise.spaces import Darts, NasBench201
from poise.spaces.space import genotype_of, kept_of
from poise.supernet.groups import one_hot, row_weights, searchable

PARTIAL = Darts(4, 3, partial=2)


def test_every_node_that_several_edges_enter_has_weights() -> None:
    names = [group.name for group in PARTIAL.groups]
    nodes = [f"{kind}.{node}" for kind in ("normal", "reduce") for node in (2, 3, 4, 5)]
    assert names == ["normal", "reduce", *nodes]
    third = PARTIAL.groups[3]
    assert third.rows[0].candidates == ("0->3", "1->3", "2->3")
    assert third.scales == ("normal", (2, 3, 4))
    assert [group.layers for group in PARTIAL.groups] == [1, 2] + [1] * 4 + [2] * 4
    assert [group.name for group in NasBench201(4, 1, partial=4).groups] == ["cell", "cell.2", "cell.3"]
    assert [group.name for group in searchable(PARTIAL.groups)] == ["normal", "reduce"]


def test_one_part_is_darts_to_the_last_bit() -> None:
    space = NasBench201(4, 1)
    assert PartialConnections(1)(space) == FullConnections()(space) == space
    ends = []
    for method in (Method(), Method(connections=PartialConnections(1))):
        torch.manual_seed(0)
        found = searcher(method, supernet=method.connections(space).supernet(TASK), count=6, size=6, epochs=2)
        search(found)
        ends.append(state_of(found))
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_row_weights_by_hand() -> None:
    values = {group.name: torch.rand(group.layers, *group.shape) for group in PARTIAL.groups}
    normal, reduce = PARTIAL.groups[:2]
    found = row_weights(reduce, PARTIAL.groups, values)
    assert found is not None
    assert torch.equal(found, torch.cat([values[f"reduce.{node}"][:, 0] for node in (2, 3, 4, 5)], dim=1))
    cell = NasBench201(4, 1, partial=2)
    betas = {"cell": torch.zeros(6, 5), "cell.2": torch.tensor([[0.2, 0.8]]), "cell.3": torch.tensor([[0.5, 0.4, 0.1]])}
    expected = torch.tensor([1.0, 0.2, 0.8, 0.5, 0.4, 0.1])
    scaled = row_weights(cell.groups[0], cell.groups, betas)
    assert scaled is not None
    torch.testing.assert_close(scaled, expected)
    assert row_weights(normal, searchable(PARTIAL.groups), values) is None


class Learnt:
    """Probabilities as they are given."""

    def __init__(self, values: dict[str, Tensor]) -> None:
        self.groups = PARTIAL.groups
        self.values = values

    def probabilities(self) -> dict[str, Tensor]:
        return self.values


def test_edges_are_ranked_by_their_weight_times_the_largest_candidate() -> None:
    """Node 3 has the strengths 0.3·0.5, 0.3·0.6, 0.4·0.4; without the weights 0.5, 0.6, 0.4."""
    values = {group.name: torch.full(group.shape, 0.1) for group in PARTIAL.groups}
    for row, best in ((2, 0.5), (3, 0.6), (4, 0.4)):
        values["normal"][row, 4] = best
    values["normal.3"] = torch.tensor([[0.3, 0.3, 0.4]])
    trained: Any = Learnt(values)
    kept = Magnitude()(trained)
    assert set(kept) == {"normal", "reduce"}
    assert [kept["normal"][row] for row in (2, 3, 4)] == [(), (4,), (4,)]
    values["normal.3"] = torch.tensor([[1.0, 1.0, 1.0]]) / 3
    assert [Magnitude()(trained)["normal"][row] for row in (2, 3, 4)] == [(4,), (4,), ()]


def test_a_genotype_names_operations_only_and_its_mixture_lets_every_edge_count_once() -> None:
    kept = {"normal": ((4,),) * 14, "reduce": ((3,), (), *((2,),) * 12)}
    genotype = genotype_of("darts", kept, PARTIAL.groups)
    assert set(genotype.choices) == {"normal", "reduce"}
    PARTIAL.check(genotype)
    assert kept_of(genotype, PARTIAL.groups) == kept
    mixture = one_hot(kept, PARTIAL.groups)
    assert all(bool((mixture[group.name] == 1).all()) for group in PARTIAL.groups if group.scales)


@dataclass(frozen=True)
class Watching:
    """Notes the groups that it is given, and changes them."""

    seen: list[Any]
    kind: str = "watching"

    def __call__(self, mixture: Any, loss: Any, *rest: Any) -> Any:
        self.seen.append((set(mixture), float(loss(mixture).detach()), float(loss.evaluation(mixture).detach())))
        return {name: values * 0.5 for name, values in mixture.items()}


def test_perturbations_and_penalties_see_operations_only() -> None:
    seen: list[Any] = []
    space = NasBench201(4, 1, partial=2)
    torch.manual_seed(0)
    found = searcher(Method(perturbation=Watching(seen)), supernet=space.supernet(TASK), count=6, size=6)
    mixtures: list[Any] = []
    forward = found.supernet.forward

    def watched(images: Tensor, mixture: Any, **more: Any) -> Any:
        mixtures.append(mixture)
        return forward(images, mixture, **more)

    found.supernet.forward = watched  # type: ignore[method-assign]
    search(found)
    assert seen
    assert all(names == {"cell"} for names, _, _ in seen)
    weights = mixtures[-1]
    torch.testing.assert_close(weights["cell"].sum(dim=-1), torch.full((3, 6), 0.5))
    torch.testing.assert_close(weights["cell.3"].sum(dim=-1), torch.ones(3, 1))
    penalised = searcher(Method(penalty=ZeroOne(1.0)), supernet=space.supernet(TASK), count=6, size=6)
    first = search(penalised)[0]["penalty"]
    assert first == pytest.approx(-((0.5 - 0.2) ** 2), rel=0.02), "five candidates with a fifth each; β would be larger"


def test_smoothing_runs_on_partial_channels() -> None:
    space = Darts(4, 3, partial=4)
    torch.manual_seed(0)
    found = searcher(Method(perturbation=RandomSmoothing()), supernet=space.supernet(TASK), count=6, size=6, epochs=2)
    before = {name: values.detach().clone() for name, values in found.alphas.items()}
    search(found)
    assert all(not torch.equal(values, before[name]) for name, values in found.alphas.items()), "β moves too"


def test_refusals() -> None:
    with pytest.raises(Refused, match="at least 1 part"):
        PartialConnections(0)
    with pytest.raises(Refused, match="6 channels cannot be divided into 4"):
        PartialConnections(4)(Darts(6, 3))
    with pytest.raises(Refused, match="6 channels cannot be divided into 4"):
        replace(NasBench201(6, 1), partial=4)
    with pytest.raises(Refused, match="space 'plain' has no cells"):
        PartialConnections(4)(type("Plain", (), {"name": "plain"})())
