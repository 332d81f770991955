"""Several processes with global normalisation are one process: every method's steps, selections, diagnostics and
retraining, in float64, on batches that cannot be divided evenly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_support import DOUBLE, SINGLE, TASK, batches, searcher
from test_captured import HALFWAY, SIZES, STEPPING, brief, flat
from test_captured_training import DROPPING, network, settings
from torch import Tensor, nn

from full import FULL
from many import together
from poise.bench.scaling import scaling
from poise.diagnostics.vector import SearchLoss
from poise.engine.device import Place
from poise.engine.loop import Sums
from poise.engine.loss import BatchLoss
from poise.engine.objective import CLASSES
from poise.engine.search import SearchTrainer, search
from poise.engine.searcher import Searcher
from poise.engine.train import NetworkDescent, NetworkTrainer, evaluate
from poise.engine.trained import TrainedSupernet
from poise.methods import METHODS, Method, Progressive, RandomSmoothing
from poise.selection.perturbation import PerturbationRule
from poise.spaces import SPACES
from poise.supernet.draws import Draws
from poise.supernet.narrowing import without
from poise.supernet.processes import Processes

ROWS = 5
"""Of a batch: 3 and 2 for two processes; 2, 1, 1, 1 for four."""

PLACES = {"double": DOUBLE, "single": SINGLE}


def place(name: str = "double") -> Place:
    return replace(PLACES[name], processes=Processes.here())


def built(method: Method, space: str, execution: str, steps: int = 2, **more: Any) -> Searcher:
    cells = {"cells": 4} if space == "darts" and method.alignment != Method().alignment else {}
    found: Any = method.connections(SPACES[space](**SIZES[space] | cells))
    torch.manual_seed(0)
    supernet = found.supernet(TASK, without(found.groups, method.without))
    given = {"normalisation": "global", "execution": execution} | more
    return searcher(method, supernet=supernet, place=place(), count=ROWS * steps, size=ROWS, **given)


def stepped(found: Searcher) -> dict[str, Tensor]:
    """Everything that moved in the steps of an epoch, and what was measured."""
    trainer, sums = SearchTrainer(found, lambda number: HALFWAY), Sums()
    for number, batch in enumerate(trainer.begin(0, 0)):
        trainer.step(number, batch, sums)
    found.check_same("after an epoch")
    return dict(flat({**found.state(), "sums": sums.state()}))


def apart(found: dict[str, Tensor], alone: dict[str, Tensor]) -> float:
    """The largest difference."""
    assert found.keys() == alone.keys()
    return max(float((value.double() - alone[name].double()).abs().max().detach()) for name, value in found.items())


def cases() -> list[Any]:
    """On NAS-Bench-201 the executions take turns."""
    small = [(name, "nasbench201", ("normed", "stacked")[n % 2], 2) for n, name in enumerate(STEPPING)]
    chosen = STEPPING if FULL else ["lambda-darts"]
    large = [(name, "darts", ("stacked", "normed")[n % 2], 4 if FULL else 2) for n, name in enumerate(chosen)]
    other = [(name, "nasbench201", ("stacked", "normed")[n % 2], 4) for n, name in enumerate(STEPPING) if FULL]
    return small + large + other


@pytest.mark.parametrize(("method", "space", "execution", "count"), cases())
def test_a_step_is_that_of_one_process(method: str, space: str, execution: str, count: int, tmp_path: Path) -> None:
    value = brief(METHODS[method].build())
    alone = stepped(built(value, space, execution))
    for found in together(count, tmp_path, lambda: stepped(built(value, space, execution))):
        assert apart(found, alone) < 1e-9


NOISY = Method(curriculum=Progressive(skip_rates=(0.5, 0.5, 0.5)), perturbation=RandomSmoothing())


def test_noise_and_dropout_are_those_of_one_process(tmp_path: Path) -> None:
    alone = stepped(built(NOISY, "s4", "stacked"))
    for found in together(2, tmp_path, lambda: stepped(built(NOISY, "s4", "stacked"))):
        assert apart(found, alone) < 1e-9


def test_by_its_own_rows_each_process_normalises_what_it_has(tmp_path: Path) -> None:
    """The loss is the mean over rows, those of each process normalised by themselves; running statistics are means."""

    def work() -> Any:
        found = built(Method(), "nasbench201", "stacked", normalisation="local")
        inputs, targets = next(found.training.ordered())
        loss = found.loss(inputs, targets, 0)(found.mixture())
        stepped(found)
        return loss.detach(), [v for name, v in found.supernet.state_dict().items() if "running_mean" in name]

    (loss, running), (other, others) = together(2, tmp_path, work)
    assert loss == other
    assert all(torch.equal(one, two) for one, two in zip(running, others, strict=True))
    alone = built(Method(), "nasbench201", "stacked")
    inputs, targets = next(alone.training.ordered())
    halves = (slice(0, 3), slice(3, 5))
    parts = [alone.loss(inputs[rows], targets[rows], 0)(alone.mixture()) * len(targets[rows]) for rows in halves]
    assert float((sum(parts) / ROWS - loss).abs().detach()) < 1e-12


@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_a_loss_and_its_outputs_are_those_of_the_whole_batch(kind: str, tmp_path: Path) -> None:
    def work() -> Any:
        found = built(Method(), "nasbench201", "normed")
        inputs, targets = next(found.searching.ordered())
        loss = found.loss(inputs, targets, 0)
        mixture = found.mixture()
        if kind == "evaluation":
            value = loss.evaluation(mixture)
            return [value.detach(), torch.autograd.grad(value, list(found.alphas.values()))[0]]
        value = loss(mixture)
        assert float(loss(mixture).detach()) == float(value.detach()), "a loss called twice is the same number"
        return [value.detach(), torch.autograd.grad(value, list(found.alphas.values()))[0], loss.outputs]

    alone = work()
    for found in together(2, tmp_path, work):
        assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in zip(found, alone, strict=True))


def test_second_derivatives_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    def work() -> Any:
        loss = SearchLoss(built(Method(), "nasbench201", "normed"), 2)
        vector = torch.linspace(-1, 1, loss.point.numel(), dtype=torch.float64)
        return [loss.product(loss.point, vector), loss.gradient(loss.point), torch.tensor(loss.value(loss.point))]

    alone = work()
    for found in together(2, tmp_path, work):
        assert all(torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in zip(found, alone, strict=True))


def test_a_selection_by_perturbation_is_that_of_one_process(tmp_path: Path) -> None:
    """What is counted, what it decides and how the supernet is tuned in between; the last batch is a smaller one."""

    def work() -> Any:
        found = built(Method(), "nasbench201", "stacked", steps=2)
        found.searching = batches(ROWS * 2 + 1, ROWS, 2, place())
        found.searching._drop_last = False
        space = SPACES["nasbench201"](**SIZES["nasbench201"])
        alphas = {name: value.detach() for name, value in found.alphas.items()}
        trained = TrainedSupernet(space, found.groups, alphas, found.method.relaxation, lambda: found, 0)
        kept = PerturbationRule(tune_epochs=1)(trained)
        return kept, [entry.get("scores") for entry in trained.saver.facts["journal"]], found.supernet.state_dict()

    kept, scores, state = work()
    for other_kept, other_scores, other_state in together(2, tmp_path, work):
        assert other_kept == kept
        assert len(other_scores) == len(scores) > 3
        assert apart(dict(flat(other_state)), dict(flat(state))) < 1e-9
        for ours, theirs in zip(other_scores, scores, strict=True):
            assert (ours is None) == (theirs is None)
            for one, two in zip(ours or [], theirs or [], strict=True):
                assert one == two or one == pytest.approx(two, abs=1e-9)


def test_records_are_those_of_one_process(tmp_path: Path) -> None:
    def work() -> Any:
        return search(built(Method(), "nasbench201", "stacked", epochs=2))

    alone = work()
    for records in together(2, tmp_path, work):
        for one, other in zip(records, alone, strict=True):
            assert one["search_accuracy"] == other["search_accuracy"]
            assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-9)
            assert one["alphas"]["cell"][0] == pytest.approx(other["alphas"]["cell"][0], abs=1e-9)


def retrained(name: str, auxiliary: float, normalisation: Any = "global") -> dict[str, Tensor]:
    given = settings(0.6 if name in DROPPING else 0.0, auxiliary=auxiliary, normalisation=normalisation)
    given = given.model_copy(update={"batch_size": ROWS})
    descent = NetworkDescent(network(name), given, place(), 0)
    trainer, sums = NetworkTrainer(descent, batches(2 * ROWS, ROWS, 1, place())), Sums()
    for number, batch in enumerate(trainer.begin(1, 0)):
        trainer.step(number, batch, sums)
    trainer.record(sums, [])
    return dict(flat({**descent.state(), "sums": sums.state()}))


@pytest.mark.parametrize(("name", "count"), [("darts", 4 if FULL else 2), ("nasbench201", 4), ("s4", 2), ("mobile", 2)])
def test_a_retraining_is_that_of_one_process(name: str, count: int, tmp_path: Path) -> None:
    """With drop-path, the auxiliary head and noise, where there are any."""
    auxiliary = 0.4 if name in ("darts", "s4") else 0.0
    alone = retrained(name, auxiliary)
    for found in together(count, tmp_path, lambda: retrained(name, auxiliary)):
        assert apart(found, alone) < 1e-9


def test_a_retraining_by_its_own_rows_leaves_all_with_the_same_network(tmp_path: Path) -> None:
    one, other = together(2, tmp_path, lambda: retrained("nasbench201", 0.0, "local"))
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


def test_everything_is_measured_once(tmp_path: Path) -> None:
    """Of 11 images: batches of 5, 5 and 1, which only the first process has a part of."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3)).double()

    def work() -> Any:
        data = batches(11, ROWS, 3, place())
        data._drop_last = False
        return evaluate(net, data, place())

    alone = work()
    for found in together(2, tmp_path, work):
        assert found == pytest.approx(alone, abs=1e-12)
        assert found["accuracy"] == alone["accuracy"]


def test_a_module_that_draws_by_itself_draws_something_else_in_each_process(tmp_path: Path) -> None:
    def work() -> Any:
        net = nn.Dropout(0.5)
        loss = BatchLoss(net, torch.ones(4, 3), torch.zeros(8).long(), Draws(0, torch.device("cpu")), place("single"))
        net.forward = lambda x, mixture: nn.functional.dropout(x, 0.5)  # type: ignore[method-assign, assignment]
        value = loss({})
        assert float(loss({})) == float(value)
        return loss.outputs

    first, second = together(2, tmp_path, work)
    assert torch.equal(first, second)
    assert not torch.equal(first[:4], first[4:])
    assert CLASSES.count(first) == 8


def test_what_is_sent_is_counted_and_few_messages_carry_a_step(tmp_path: Path) -> None:
    """Two losses of plain DARTS: their values, outputs and gradients; and the running statistics."""

    def work() -> Any:
        found = scaling(
            SPACES["nasbench201"](channels=2, cells=1), batch_size=ROWS, image_size=8, rounds=1, device="cpu",
            precision="32", methods=("darts",),
        )  # fmt: skip
        return [(each.name, each.messages, each.megabytes, each.share) for each in found]

    first, second = together(2, tmp_path, work)
    (local, few, bytes_local, share), (name, many, bytes_global, _) = first
    assert [each[:3] for each in first] == [each[:3] for each in second]
    assert (local, name) == ("darts, local", "darts, global")
    assert few <= 8 < many
    assert bytes_local < bytes_global
    assert 0 <= share < 1
