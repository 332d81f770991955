"""Selection by perturbation: on scores that are known, and on a supernet whose largest alpha is not its most useful."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.errors import Refused
from poise.selection import Magnitude, PerturbationRule
from poise.selection.edits import Edits
from poise.selection.race import Survivors
from poise.selection.rule import Decision, Score
from poise.supernet.choice import Choice
from poise.supernet.groups import Kept, expand
from poise.supernet.supernet import ModuleSupernet
from selection.selection_fakes import NODES, Fake, Replay, cell, free


class Worth:
    """Accuracy = Σ worth·min(p / start, 1): what is removed costs its worth, what is decided gives nothing more."""

    def __init__(self, worth: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> None:
        self.worth, self.start = worth, start

    def __call__(self, mixture: Mapping[str, Tensor]) -> Score:
        total = sum(
            float((worth * (mixture[name] / self.start[name]).clamp(max=1)).sum()) for name, worth in self.worth.items()
        )
        return Score(total / 1000, -total)


def uniform(rows: int, candidates: int) -> Tensor:
    return torch.full((rows, candidates), 1 / candidates, dtype=torch.float64)


def test_the_candidate_that_is_missed_most_wins() -> None:
    groups = [free(["none", "a", "b"], rows=3)]
    values = {"cell": torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64)}
    worth = {"cell": torch.tensor([[1.0, 5.0, 2.0], [9.0, 1.0, 3.0], [2.0, 4.0, 4.0]], dtype=torch.float64)}
    for criterion in ("accuracy", "loss"):
        trained = Fake(values, groups, Worth(worth, values))
        kept = PerturbationRule(criterion, 0)(trained)  # type: ignore[arg-type]
        assert kept == {"cell": ((1,), (0,), (1,))}  # none counts in rows of their own; of equals the first


def test_rows_are_not_renormalised_and_decided_rows_stay_decided() -> None:
    groups = [free(["a", "b", "c"], rows=2)]
    values = {"cell": torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], dtype=torch.float64)}
    worth = {"cell": torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], dtype=torch.float64)}
    trained = Fake(values, groups, Worth(worth, values))
    PerturbationRule("accuracy", 0)(trained)
    assert len(trained.measured) == 6
    first = 0 if not torch.equal(trained.measured[0]["cell"][0], values["cell"][0]) else 1
    winner = {0: 2, 1: 0}[first]
    for candidate in range(3):
        expected = values["cell"].clone()
        expected[first, candidate] = 0
        assert torch.equal(trained.measured[candidate]["cell"], expected)
        expected = values["cell"].clone()
        expected[first] = F.one_hot(torch.tensor(winner), 3)
        expected[1 - first, candidate] = 0
        assert torch.equal(trained.measured[3 + candidate]["cell"], expected)


def scores(table: Mapping[int, tuple[float, float]]) -> Fake:
    """One row of three candidates; ``table``: the missing candidate -> (accuracy, loss)."""
    group = free(["a", "b", "c"], rows=1)

    def score(mixture: Mapping[str, Tensor]) -> Score:
        (missing,) = (mixture["cell"][0] == 0).nonzero().flatten().tolist()
        return Score(*table[missing])

    return Fake({"cell": uniform(1, 3)}, [group], score)


def test_accuracy_and_loss_can_disagree() -> None:
    table = {0: (0.5, 1.0), 1: (0.6, 3.0), 2: (0.7, 2.0)}
    assert PerturbationRule("accuracy", 0)(scores(table)) == {"cell": ((0,),)}
    assert PerturbationRule("loss", 0)(scores(table)) == {"cell": ((1,),)}


def test_ties_of_accuracy_are_broken_by_the_loss_and_the_other_way_round() -> None:
    assert PerturbationRule("accuracy", 0)(scores({0: (0.5, 1.0), 1: (0.5, 3.0), 2: (0.7, 9.0)})) == {"cell": ((1,),)}
    assert PerturbationRule("loss", 0)(scores({0: (0.5, 3.0), 1: (0.4, 3.0), 2: (0.1, 1.0)})) == {"cell": ((1,),)}


def topology(seed: int, tune: int = 0) -> tuple[Fake, Kept, Tensor]:
    group = cell(["none", "a", "b"])
    values = {"normal": uniform(9, 3)}
    edge_worth = torch.tensor([9.0, 8.0, 1.0, 7.0, 5.0, 6.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    worth = torch.zeros(9, 3, dtype=torch.float64)
    worth[:, 0] = 100  # what none seems worth must never matter in a cell
    worth[:, 2] = edge_worth
    trained = Fake(values, [group], Worth({"normal": worth}, values), seed=seed)
    return trained, PerturbationRule("accuracy", tune)(trained), edge_worth


@pytest.mark.parametrize("seed", range(3))
def test_topology_drops_the_least_useful_edges(seed: int) -> None:
    _, kept, _ = topology(seed)
    assert kept == {"normal": ((2,), (2,), (), (2,), (2,), (2,), (), (), (2,))}


def test_topology_drops_one_edge_at_a_time_and_measures_again() -> None:
    trained, _, _ = topology(0)
    later = trained.measured[18:]  # 9 rows × 2 eligible candidates (none is not one)
    assert len(trained.measured) == 18 + 3 + (4 + 3)
    for mixture in trained.measured[:18]:
        assert not (mixture["normal"][:, 0] == 0).any() or (mixture["normal"][:, 2] == 1).any()
    removed = [tuple((mixture["normal"].sum(dim=1) == 0).nonzero().flatten().tolist()) for mixture in later]
    node3, node4 = [{(2,), (3,), (4,)}, {(5,), (6,), (7,), (8,)}]
    if len(removed[0]) == 1 and removed[0][0] in NODES[1]:
        assert set(removed[:3]) == node3
        assert set(removed[3:7]) == {(2, *row) for row in node4}
        assert set(removed[7:]) == {(2, 5, 6), (2, 6, 7), (2, 6, 8)}
    else:
        assert set(removed[:4]) == node4
        assert set(removed[4:7]) == {(5, 6), (6, 7), (6, 8)}
        assert set(removed[7:]) == {(2, 6, 7), (3, 6, 7), (4, 6, 7)}


def test_edges_that_need_each_other_are_measured_again() -> None:
    """Once 1->4 is gone 0->4 becomes precious: ranking all edges once would drop it."""
    group = cell(["a", "b"])

    def score(mixture: Mapping[str, Tensor]) -> Score:
        alive = (mixture["normal"].sum(dim=1) > 0).double()
        worth = torch.tensor([0.0, 0, 3, 2, 1, 0, 0, 4, 3], dtype=torch.float64)
        total = float((alive * worth).sum() + 10 * torch.maximum(alive[5] * 1.01, alive[6]))
        return Score(total / 100, -total)

    trained = Fake({"normal": uniform(9, 2)}, [group], score)
    kept = PerturbationRule("accuracy", 0)(trained)
    assert [bool(row) for row in kept["normal"]][5:] == [True, False, True, False]


def test_tuning_lies_between_visits() -> None:
    """9 rows and 2 crowded nodes: 10 times 3 epochs, none after the last; done and total count epochs."""
    trained, _, _ = topology(1, tune=3)
    assert [(epochs, done, total) for _, _, epochs, done, total in trained.tuned] == [
        (3, 3 * visit, 30) for visit in range(10)
    ]
    assert [measured for _, measured, *_ in trained.tuned][:9] == [2 * (visit + 1) for visit in range(9)]
    for visit, (mixture, *_) in enumerate(trained.tuned):
        decided = int((mixture["normal"][:, 2] == 1).sum())
        removed = int((mixture["normal"].sum(dim=1) == 0).sum())
        assert decided + removed == min(visit + 1, 9)
    assert topology(1, tune=0)[0].tuned == []


def test_rows_without_cells_are_tuned_one_time_less() -> None:
    groups = [free(["a", "b"], rows=3)]
    values = {"cell": uniform(3, 2)}
    trained = Fake(values, groups, Worth({"cell": torch.rand(3, 2, dtype=torch.float64)}, values))
    PerturbationRule()(trained)
    assert [call[2:] for call in trained.tuned] == [(5, 0, 10), (5, 5, 10)]


def test_normal_and_reduction_cells_are_visited_in_step() -> None:
    groups = [cell(["a", "b"], "normal"), cell(["a", "b"], "reduce")]
    values = {name: uniform(9, 2) for name in ("normal", "reduce")}
    generator = torch.Generator().manual_seed(0)
    worth = {name: torch.rand(9, 2, generator=generator, dtype=torch.float64) for name in values}
    trained = Fake(values, groups, Worth(worth, values))
    PerturbationRule("accuracy", 1)(trained)
    assert len(trained.tuned) == 10
    for mixture, *_ in trained.tuned[:9]:
        decided = [{int(row) for row in (mixture[name].amax(dim=1) == 1).nonzero()} for name in values]
        assert decided[0] == decided[1]


def test_the_order_is_random_and_the_generators() -> None:
    def order(seed: int) -> list[int]:
        groups = [free(["a", "b"], rows=8)]
        values = {"cell": uniform(8, 2)}
        trained = Fake(values, groups, Worth({"cell": torch.ones(8, 2, dtype=torch.float64)}, values), seed=seed)
        PerturbationRule("loss", 0)(trained)
        undecided = [m["cell"] == 0.5 for m in trained.measured[::2]]
        return [int((row.sum(dim=1) == 1).nonzero()[0]) for row in undecided]

    assert sorted(order(0)) == list(range(8))
    assert order(0) == order(0)
    assert len({tuple(order(seed)) for seed in range(4)}) == 4
    assert any(order(seed) != list(range(8)) for seed in range(2))


@pytest.mark.parametrize("given", [{}, {"tune_schedule": "cosine"}])
def test_the_rule_says_how_to_tune(given: dict[str, Any]) -> None:
    values = {"cell": uniform(3, 2)}
    trained = Fake(values, [free(["a", "b"], rows=3)], Worth({"cell": torch.ones(3, 2, dtype=torch.float64)}, values))
    PerturbationRule("loss", 1, **given)(trained)
    assert trained.schedules == [given.get("tune_schedule", "constant")] * 2


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"criterion": 1}, "metric, loss or a metric's name"),
        ({"tune_epochs": -1}, "at least 0"),
        ({"tune_schedule": "linear"}, "constant or cosine"),
        ({"confidence": 0.0}, "between 0 and 1"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"confidence": 0.9, "criterion": "loss"}, "use criterion=accuracy"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        PerturbationRule(**settings)  # type: ignore[arg-type]


def answers(images: int, seed: int, spread: float) -> Any:
    """Images of different difficulty, and edges of different worth; every image is answered by the same rule.

    A small ``spread`` of the worth makes many ties of the accuracy.
    """
    generator = torch.Generator().manual_seed(seed)
    worth = spread * torch.rand(9, 3, generator=generator, dtype=torch.float64)
    difficulty = torch.rand(images, generator=generator, dtype=torch.float64)

    def answer(mixture: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        signal = 0.1 + float((worth * mixture["normal"]).sum())
        return difficulty < signal, difficulty - signal

    return answer


@pytest.mark.parametrize("spread", [0.0, 0.002, 0.02, 0.15])
@pytest.mark.parametrize("confidence", [None, 0.999])
def test_stopping_early_changes_no_decision(spread: float, confidence: float | None) -> None:
    """Rows and edges; with ties, which the loss breaks; and something is saved where differences are large."""
    saved = 0
    for seed in range(6):
        answer = answers(400, seed, spread)
        values = {"normal": uniform(9, 3)}
        full = Replay(values, [cell(["none", "a", "b"])], answer, 20, listens=False)
        early = Replay(values, [cell(["none", "a", "b"])], answer, 20)
        assert PerturbationRule("accuracy", 0)(full) == PerturbationRule("accuracy", 0, confidence)(early)
        assert early.evaluated <= full.evaluated == 400 * (18 + 3 + 4 + 3)
        saved += full.evaluated - early.evaluated
    assert (saved > 0) == (spread > 0.1)


def test_who_went_early_does_not_win() -> None:
    """Candidate 0 is far behind when it goes, though its score so far looks like the best one's loss."""
    group = free(["a", "b", "c"], rows=1)

    def answer(mixture: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        (missing,) = (mixture["cell"][0] == 0).nonzero().flatten().tolist()
        hits = torch.arange(1000) % 10 < (9, 1, 1)[missing]
        return hits, torch.full((1000,), (9.0, 1.0, 2.0)[missing])

    for confidence, images in ((None, 560 + 2 * 1000), (0.99, 100 + 2 * 1000)):
        trained = Replay({"cell": uniform(1, 3)}, [group], answer, 20)
        assert PerturbationRule("accuracy", 0, confidence)(trained) == {"cell": ((2,),)}
        assert trained.evaluated == images


def test_the_loss_is_compared_on_every_image() -> None:
    for criterion, complete in (("accuracy", False), ("loss", True)):
        trained = Replay({"normal": uniform(9, 3)}, [cell(["none", "a", "b"])], answers(400, 1, 0.15), 10)
        PerturbationRule(criterion, 0)(trained)  # type: ignore[arg-type]
        assert (trained.evaluated == 400 * (18 + 3 + 4 + 3)) == complete


def test_a_row_without_a_choice_is_not_measured() -> None:
    trained = Fake({"cell": uniform(2, 1)}, [free(["a"], rows=2)])
    assert PerturbationRule("accuracy", 0)(trained) == {"cell": ((0,), (0,))}


class Useless(nn.Module):
    """Throws the signal away: the mean over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=0, keepdim=True).expand_as(x)


class Real:
    """A supernet that is really evaluated; it is never tuned."""

    def __init__(self, supernet: ModuleSupernet, alphas: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> None:
        self.groups = supernet.groups
        self.generator = torch.Generator().manual_seed(0)
        self.supernet, self.alphas, self.images, self.labels = supernet, alphas, images, labels

    def probabilities(self) -> Mapping[str, Tensor]:
        return {name: values.softmax(dim=-1) for name, values in self.alphas.items()}

    def valid(self, kept: Kept) -> bool:
        return True

    def compare(
        self, edits: Sequence[Edits], keep: Survivors | None = None, metric: str | None = None
    ) -> list[Score | None]:
        return [self.score(edit) for edit in edits]

    @torch.no_grad()
    def score(self, edits: Edits) -> Score:
        logits = self.supernet(self.images, expand(edits.apply(self.probabilities()), self.groups))
        right = (logits.argmax(dim=1) == self.labels).double().mean()
        return Score(float(right), float(F.cross_entropy(logits, self.labels)))

    def tune(self, edits: Edits, epochs: int, done: int, total: int, schedule: str = "constant") -> None:
        raise AssertionError("tune_epochs is 0")

    def note(self, message: str) -> None:
        raise AssertionError(message)

    def decided(self, decision: Decision) -> None:
        assert decision.kept == ("signal",)
        assert min(decision.removed, key=lambda name: decision.removed[name].quality) == "signal"  # type: ignore[union-attr]


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_a_real_supernet_whose_largest_alpha_is_useless(criterion: str) -> None:
    torch.manual_seed(0)
    first = Choice({"useless": Useless(), "signal": nn.Identity()})
    second = Choice({"signal": nn.Identity(), "useless": Useless()})
    supernet = ModuleSupernet(nn.Sequential(first, second, nn.Linear(4, 4)))
    with torch.no_grad():
        supernet.module[2].weight.copy_(3 * torch.eye(4))  # type: ignore[index,operator]
        supernet.module[2].bias.zero_()  # type: ignore[index,union-attr]
    labels = torch.arange(40) % 4
    images = F.one_hot(labels, 4).float() + 0.1 * torch.randn(40, 4)
    alphas = {"0": torch.tensor([[1.0, 0.0]]), "1": torch.tensor([[0.0, 1.0]])}
    trained = Real(supernet, alphas, images, labels)
    assert trained.score(Edits.none(supernet.groups)).quality == 1.0
    assert Magnitude()(trained) == {"0": ((0,),), "1": ((1,),)}
    assert PerturbationRule(criterion, 0)(trained) == {"0": ((1,),), "1": ((0,),)}  # type: ignore[arg-type]


def test_a_metric_is_asked_for_by_its_name_and_the_loss_breaks_ties() -> None:
    asked: list[str | None] = []

    class Asked(Fake):
        def compare(self, edits: Any, keep: Any = None, metric: str | None = None) -> Any:
            asked.append(metric)
            return super().compare(edits, keep, metric)

    table = {0: (-0.5, 1.0), 1: (-0.5, 3.0), 2: (-0.2, 2.0)}  # errors, say: higher is better here
    for criterion, metric in (("metric", None), ("loss", None), ("rmse", "rmse")):
        trained = Asked({"cell": uniform(1, 3)}, [free(["a", "b", "c"], rows=1)], scores(table)._score)
        assert PerturbationRule(criterion, 0)(trained) == {"cell": ((1,),)}
        assert asked.pop() == metric


@pytest.mark.parametrize(
    ("given", "metrics", "decides", "reason"),
    [
        ({"criterion": "r3"}, ["r2", "mae"], False, "unknown criterion 'r3'; did you mean 'r2'"),
        ({"criterion": "accuracy"}, ["r2", "mae"], False, "unknown criterion 'accuracy'"),
        ({"confidence": 0.99}, ["r2", "mae"], False, "the criterion is 'r2'; leave confidence out"),
        ({"confidence": 0.99, "criterion": "top5_accuracy"}, ["accuracy", "top5_accuracy"], True, "leave confidence"),
        ({"confidence": 0.99, "criterion": "accuracy"}, ["accuracy", "top5_accuracy"], True, None),
        ({"criterion": "accuracy/cat"}, ["accuracy"], True, None),
        ({"criterion": "loss"}, ["r2"], False, None),
        ({}, ["r2"], False, None),
    ],
)
def test_a_criterion_that_a_task_does_not_have_is_refused(
    given: dict[str, Any], metrics: list[str], decides: bool, reason: str | None
) -> None:
    rule = PerturbationRule(**given)
    if reason is None:
        rule.check_metrics(metrics, decides)
        return
    with pytest.raises(Refused, match=reason):
        rule.check_metrics(metrics, decides)


def test_what_was_decided_is_told_with_what_it_went_by() -> None:
    table = {0: (0.5, 1.0), 1: (0.2, 3.0), 2: (0.4, 2.0)}
    trained = Fake({"cell": uniform(1, 3)}, [free(["a", "b", "c"], rows=1)], scores(table)._score)
    PerturbationRule("metric", 0)(trained)
    (decision,) = trained.decisions
    assert (decision.group, decision.row, decision.of, decision.kept) == ("cell", "0", "operation", ("b",))
    assert {name: score and score.quality for name, score in decision.removed.items()} == {"a": 0.5, "b": 0.2, "c": 0.4}


def test_edges_that_go_are_told_too() -> None:
    group = cell(["a"])
    worth = [0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5]

    def score(values: dict[str, Tensor]) -> Score:
        gone = [row for row in range(9) if not values["normal"][row].any()]
        return Score(1 - sum(worth[row] for row in gone), 0.0)

    trained = Fake({"normal": uniform(9, 1)}, [group], score)
    kept = PerturbationRule("metric", 0)(trained)
    edges = [decision for decision in trained.decisions if decision.of == "edge"]
    assert len(edges) == 3, "one of the second node's three, two of the third node's four"
    gone = {name for decision in edges for name in decision.kept}
    assert gone == {group.rows[row].name for row in range(9) if not kept["normal"][row]}
    for decision in edges:
        (name,) = decision.kept
        assert name in decision.removed
        assert name.endswith(f"->{decision.row}")
        best = max(decision.removed, key=lambda each: decision.removed[each].quality)  # type: ignore[union-attr]
        assert best == name, "what is missed least goes"
