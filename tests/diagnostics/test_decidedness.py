"""A lead is measured against what chance explains: by hand, against a random walk, whatever the scale."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poise.diagnostics.decidedness import Decidedness, Lead, decidedness, noise
from poise.errors import Refused
from poise.methods.relaxation import Sigmoid, Softmax
from poise.report.decidedness import leads_grid, verdict
from poise.selection.magnitude import by_magnitude
from poise.spaces.darts import Darts
from poise.spaces.nasbench1shot1 import NasBench1Shot1Space1
from poise.supernet.groups import ChoiceGroup, Row

Walk = Tensor
"""``[epochs, rows, candidates]`` float64."""


def group(rows: int, names: Sequence[str] = ("a", "b", "c"), **more: Any) -> ChoiceGroup:
    return ChoiceGroup("g", 1, tuple(Row(str(row), tuple(names)) for row in range(rows)), **more)


def found(
    groups: Sequence[ChoiceGroup],
    walks: dict[str, Walk],
    relaxation: Any = Softmax(),
    kept: Any = None,
    final: dict[str, Tensor] | None = None,
) -> Decidedness:
    epochs = len(next(iter(walks.values())))
    history = [{"alphas": {name: walk[epoch].tolist() for name, walk in walks.items()}} for epoch in range(epochs)]
    final = {name: walk[-1] for name, walk in walks.items()} if final is None else final
    chosen = by_magnitude(groups, {name: relaxation(values) for name, values in final.items()})
    return decidedness(history, final, groups, relaxation, chosen if kept is None else kept)


def two(margins: Sequence[float]) -> Decidedness:
    """One row of two candidates, the first ahead by these margins."""
    walk = torch.zeros(len(margins), 1, 2, dtype=torch.float64)
    walk[:, 0, 0] = torch.tensor(margins, dtype=torch.float64)
    return found([group(1, ("a", "b"))], {"g": walk})


def walk(epochs: int, rows: int, candidates: int, seed: int = 0) -> Walk:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(epochs, rows, candidates, generator=generator, dtype=torch.float64).cumsum(dim=0)


def test_a_lead_by_hand() -> None:
    """Margins 7, 1, 2, 4, 5, 9: the last three moves are 2, 1, 4, of mean 7/3 and variance 7/3; t of 2 degrees of
    freedom exceeds 4.3027 in one of 20 cases."""
    (lead,) = two([7, 1, 2, 4, 5, 9]).leads
    assert (lead.kept, lead.rival, lead.of) == ("a", "b", "operation")
    assert lead.margin == 9
    assert lead.noise == pytest.approx(4.302653 * math.sqrt(7 / 3) * math.sqrt(6), rel=1e-6)
    assert lead.ratio == pytest.approx(9 / 16.0991, rel=1e-4)
    assert lead.barely


def test_a_loss_is_noise_and_a_gain_is_not() -> None:
    gaining, losing = two([0, 1, 2, 3, 4, 5.5]).leads[0], two([10, 9, 8, 7, 6, 4.5]).leads[0]
    assert gaining.noise == pytest.approx(4.302653 * math.sqrt(1 / 12) * math.sqrt(6), rel=1e-6)
    assert losing.noise == pytest.approx(4.302653 * math.sqrt(4.25 / 2) * math.sqrt(6), rel=1e-6)
    assert not gaining.barely
    assert losing.barely, "a rival who catches up is not beaten yet"


@pytest.mark.parametrize("epochs", [3, 6, 12, 50])
def test_pure_chance_passes_for_a_decision_in_one_of_twenty_rows(epochs: int) -> None:
    pairs = found([group(3000, ("a", "b"))], {"g": walk(epochs, 3000, 2)})
    assert 0.03 < 1 - len(pairs.barely) / 3000 < 0.07
    many = found([group(3000, "abcde")], {"g": walk(epochs, 3000, 5)})
    assert 1 - len(many.barely) / 3000 < 0.05


@pytest.mark.parametrize("epochs", [6, 50])
def test_noise_around_nothing_is_no_decision(epochs: int) -> None:
    values = torch.randn(epochs, 500, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert len(found([group(500, "abcd")], {"g": values}).barely) >= 495


@pytest.mark.parametrize("epochs", [3, 6, 12, 50])
def test_a_large_lead_is_decided_whether_it_came_early_or_bit_by_bit(epochs: int) -> None:
    noisy = 0.01 * torch.randn(epochs, 60, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    early = noisy.clone()
    early[:, :, 1] += 20
    assert not found([group(60)], {"g": early}).barely
    gradual = noisy.cumsum(dim=0)
    gradual[:, :, 1] += torch.arange(epochs)[:, None]
    assert len(found([group(60)], {"g": gradual}).barely) <= (10 if epochs == 3 else 0)


def test_what_never_moved_apart_is_not_decided() -> None:
    both = torch.zeros(5, 2, 3, dtype=torch.float64)
    both[:, 1] = walk(5, 1, 3)[:, 0]
    tied, _ = found([group(2)], {"g": both}).leads
    assert (tied.margin, tied.noise, tied.ratio) == (0, 0, 0)
    assert tied.barely


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    scale=st.floats(1e-3, 1e3),
    order=st.permutations(range(4)),
    relaxation=st.sampled_from([Softmax(), Sigmoid()]),
)
def test_a_constant_the_scale_and_the_order_mean_nothing(
    seed: int, scale: float, order: list[int], relaxation: Any
) -> None:
    values = walk(8, 3, 4, seed) / 100
    names = "abcd"
    plain = found([group(3, names)], {"g": values}, relaxation).leads
    shifted = values + walk(8, 3, 1, seed + 1) if isinstance(relaxation, Softmax) else values + 0.3
    scaled = found([group(3, names)], {"g": values * scale}, Softmax()).leads
    moved = found([group(3, [names[i] for i in order])], {"g": values[:, :, order]}, relaxation).leads
    for other in (found([group(3, names)], {"g": shifted}, relaxation).leads, scaled, moved):
        assert [(lead.kept, lead.rival) for lead in other] == [(lead.kept, lead.rival) for lead in plain]
        assert [lead.ratio for lead in other] == pytest.approx([lead.ratio for lead in plain], rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_a_constant_added_to_a_softmax_row_means_nothing_for_edges(seed: int) -> None:
    cell = Darts(channels=4, cells=3).groups
    values = {g.name: walk(6, *g.shape, seed=seed) for g in cell}
    shifted = {name: rows + walk(6, rows.shape[1], 1, seed + 1) for name, rows in values.items()}
    plain, other = found(cell, values).leads, found(cell, shifted).leads
    assert [str(lead) for lead in other] == [str(lead) for lead in plain]
    assert [lead.ratio for lead in other] == pytest.approx([lead.ratio for lead in plain], rel=1e-6)


def test_none_is_a_rival_only_where_it_can_be_chosen() -> None:
    names = ("none", "a", "b")
    values = walk(6, 1, 3)
    values[:, 0, 0] += 100
    (own,) = found([group(1, names)], {"g": values}, kept={"g": ((),)}).leads
    assert own.kept == "none"
    assert own.margin > 90
    cell = group(2, names, nodes=((0, 1),), inputs=2)
    leads = found([cell], {"g": values.repeat(1, 2, 1)}).leads
    assert len(leads) == 2
    assert all({lead.kept, lead.rival} == {"a", "b"} for lead in leads)
    sparse = found([group(1)], {"g": values}, kept={"g": ((),)})
    assert sparse.leads == (), "below a threshold nothing was kept, not even none"


@pytest.mark.parametrize("partial", [1, 2])
@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid()])
def test_edges_compete_by_their_strength_at_every_node(partial: int, relaxation: Any) -> None:
    groups = Darts(channels=4, cells=3, partial=partial).groups
    values = {g.name: walk(7, *g.shape, seed=number) for number, g in enumerate(groups)}
    leads = found(groups, values, relaxation).leads
    edges = [lead for lead in leads if lead.of == "edge"]
    assert len(leads) == 16 + 6
    assert len(edges) == 6, "node 2 has two edges, and keeps both"
    normal, lead = groups[0], edges[0]
    p = relaxation(values["normal"])
    strength = p[:, 2:5, 1:].amax(dim=2)  # the edges into node 3, none aside
    if partial > 1:
        strength = strength * relaxation(values["normal.3"])[:, 0]
    order = sorted(range(3), key=lambda edge: -float(strength[-1, edge]))
    margins = strength[:, order[1]].log() - strength[:, order[2]].log()
    assert lead.row == lead.kept == normal.rows[2 + order[1]].name
    assert lead.rival == normal.rows[2 + order[2]].name
    assert lead.margin == pytest.approx(float(margins[-1]))
    assert lead.noise == pytest.approx(noise(margins))


def test_of_several_kept_candidates_the_weakest_counts() -> None:
    groups = NasBench1Shot1Space1().groups
    values = {g.name: walk(6, *g.shape) for g in groups}
    values["output"][-1, 0] = torch.tensor([5.0, 1.0, 3.0, 2.0, 0.0])
    leads = {lead.group: lead for lead in found(groups, values).leads}
    assert (leads["output"].kept, leads["output"].rival, leads["output"].margin) == ("2", "3", 1.0)


def test_what_something_else_decided_is_not_said_to_be_barely_decided() -> None:
    values = walk(6, 1, 3)
    values[-1, 0] = torch.tensor([1.0, 2.0, 0.5])
    (lead,) = found([group(1)], {"g": values}, kept={"g": ((2,),)}).leads
    assert lead.margin == -1.5
    assert lead.rival == "b"
    assert not lead.barely
    assert verdict(lead) == "not by the alphas"


def test_the_alphas_that_the_selection_got_count_not_the_last_ones() -> None:
    values = walk(6, 1, 2)
    mean = values[3:].mean(dim=0)
    (lead,) = found([group(1, ("a", "b"))], {"g": values}, final={"g": mean.float()}).leads
    assert lead.margin == pytest.approx(abs(float(mean[0, 0] - mean[0, 1])), rel=1e-6)


def test_epochs_that_let_the_alphas_stand_still_do_not_count() -> None:
    values = walk(6, 2, 3)
    warm = torch.cat((values[:1].expand(5, 2, 3), values))
    assert found([group(2)], {"g": warm}) == found([group(2)], {"g": values})
    assert found([group(2)], {"g": warm}).epochs == 6


def test_too_little_to_tell() -> None:
    for epochs in (1, 2):
        few = found([group(2)], {"g": walk(epochs, 2, 3)})
        assert few.leads == few.barely == ()
        assert str(few) == (
            "how decided the choices are is not known: that takes 3 epochs that train the alphas, and this search had "
            f"{epochs}"
        )
    still = found([group(2)], {"g": walk(1, 2, 3).expand(4, 2, 3)})
    assert still.unknown == "the alphas never moved"
    assert leads_grid(still) == []


def lead(margin: float, row: str = "0->2", of: Any = "operation") -> Lead:
    return Lead("cell", row, of, row if of == "edge" else "skip_connect", "1->3" if of == "edge" else "none", margin, 2)


def test_it_reads_as_a_sentence() -> None:
    some = Decidedness((lead(1), lead(3), lead(-9), lead(0, "2->3", "edge")), 12)
    assert str(some) == ("2 of 4 choices are barely decided (cell 0->2: skip_connect or none; cell edge 2->3 or 1->3)")
    assert some.told.startswith("2 of 4 choices are barely decided; chance alone may")
    assert "poise select RUN --rule perturbation" in some.told
    assert str(Decidedness((lead(1),) * 5, 12)).endswith("; and 2 more)")
    assert str(Decidedness((lead(2),), 12)) == Decidedness((lead(2),), 12).told == "0 of 1 choices are barely decided"
    assert str(Decidedness((lead(1),), 9)).startswith("1 of 1 choices is barely decided")
    assert some.of("cell", "2->3") == (lead(0, "2->3", "edge"),)
    texts = [verdict(each) for each in (lead(1), lead(3), lead(1e9), lead(1, "2->3", "edge"), lead(3, "2->3", "edge"))]
    assert texts == ["barely: or none (0.50)", "1.50", "> 100", "edge barely: or 1->3 (0.50)", "edge 1.50"]
    (grid,) = leads_grid(some)
    assert [row[-1] for row in grid.rows] == [verdict(each) for each in some.leads]


def test_it_is_the_same_read_back_and_nothing_else_is_read() -> None:
    for each in (Decidedness((lead(1), lead(0, of="edge")), 12), Decidedness((), 0, "why")):
        assert Decidedness.from_dict(json.loads(json.dumps(each.to_dict()))) == each
    whole = Decidedness((lead(1),), 12).to_dict()
    for damaged in ({}, whole | {"version": 2}, whole | {"choices": [{"group": "g"}]}, whole | {"choices": 3}):
        with pytest.raises(Refused, match="does not describe"):
            Decidedness.from_dict(damaged)
    with pytest.raises(Refused, match="does not describe"):
        Decidedness.from_dict(whole | {"choices": [whole["choices"][0] | {"margin": "1"}]})
