"""The search loop against a textbook DARTS, and what it promises: order, schedules, edits, reproducibility."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from engine_support import DOUBLE, SINGLE, TASK, batches, same, searcher, small_network, small_supernet, state_of
from torch import Tensor, nn
from torch.nn import functional as F

from poise.data.batches import Augmentation, Batches
from poise.data.images import Images
from poise.engine.checkpoint import split
from poise.engine.divergence import Diverged
from poise.engine.events import EpochEnded, Started, Stepped, ignore
from poise.engine.mixture_statistics import mixture_statistics
from poise.engine.schedule import cosine
from poise.engine.search import one_epoch, search
from poise.engine.searcher import Epoch, Searcher
from poise.engine.sgd import optimizer_state
from poise.engine.streams import stream
from poise.engine.trained import TrainedSupernet
from poise.errors import Refused
from poise.methods import (
    AdversarialSmoothing,
    Blank,
    FirstOrder,
    LayerAlignment,
    Method,
    NoAlignment,
    RandomSmoothing,
    Sigmoid,
    Softmax,
    Unrolled,
    WarmUp,
    ZeroOne,
)
from poise.methods.slots import Progress, Relaxed
from poise.selection.edits import Edits
from poise.selection.perturbation import PerturbationRule
from poise.selection.race import Standing
from poise.spaces import S4, ModuleSpace
from poise.spaces.space import genotype_of
from poise.supernet.choice import Choice
from poise.supernet.groups import expand
from poise.supernet.supernet import ModuleSupernet
from poise.workflow.search import clone


def quiet(event: object) -> None: ...


def trained(found: Any, seed: int = 0, listen: Any = quiet) -> TrainedSupernet:
    """The supernet of a searcher as selection rules see it."""
    space = ModuleSpace(small_network())
    return TrainedSupernet(space, found.groups, found.alphas, found.method.relaxation, lambda: found, seed, listen)


def adam_of(found: Searcher) -> dict[str, Tensor]:
    """A copy of what the alphas' Adam remembers, as ``GROUP/KEY``."""
    state = optimizer_state(found.alpha_optimizer, found.alphas)
    return {name: value.clone() for name, value in split(state)[0].items()}


def textbook_darts(
    supernet: ModuleSupernet,
    alphas: dict[str, Tensor],
    steps: int,
    settings: Any,
    penalty: float,
    relax: Any,
    weights_first: bool,
) -> dict[str, Tensor]:
    """First-order DARTS as one would write it with ``loss.backward()`` and two optimizers."""
    net = copy.deepcopy(supernet).double().train()
    parameters = {name: nn.Parameter(value.double().clone()) for name, value in alphas.items()}
    w = settings.weights
    sgd = torch.optim.SGD(
        net.parameters(), w.learning_rate, w.momentum, weight_decay=w.weight_decay, nesterov=w.nesterov
    )
    adam = torch.optim.Adam(
        parameters.values(),
        settings.alphas.learning_rate,
        settings.alphas.betas,
        weight_decay=settings.alphas.weight_decay,
    )
    training = batches(12, 4, 1, DOUBLE).epoch(stream(0, "order", "search", 0))
    searching = batches(12, 4, 2, DOUBLE).epoch(stream(0, "search order", "search", 0, 0))

    def logits(images: Tensor) -> Tensor:
        rows = {name: relax(value) for name, value in parameters.items()}
        return net(images, {g.name: torch.stack([rows[g.name]] * g.layers) for g in net.groups})

    def move_alphas(images: Tensor, labels: Tensor) -> None:
        statistics = {name: value.clone() for name, value in net.named_buffers()}
        adam.zero_grad()
        entries = torch.cat([relax(value).flatten() for value in parameters.values()])
        (F.cross_entropy(logits(images), labels) - penalty * ((entries - 0.5) ** 2).mean()).backward()
        adam.step()
        for name, value in net.named_buffers():  # poise's search passes leave the running statistics alone
            value.copy_(statistics[name])

    def move_weights(images: Tensor, labels: Tensor) -> None:
        sgd.zero_grad()
        F.cross_entropy(logits(images), labels).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), w.clip)
        sgd.step()

    for _ in range(steps):
        train, valid = next(training), next(searching)
        if weights_first:
            move_weights(*train)
            move_alphas(*valid)
        else:
            move_alphas(*valid)
            move_weights(*train)
    return {f"alphas.{name}": value.detach() for name, value in parameters.items()} | net.state_dict()


CASES: dict[str, tuple[Method, dict[str, Any]]] = {
    "darts": (Method(), {}),
    "weights first": (Method(), {"weights_first": True}),
    "nesterov": (Method(), {"weights": {"nesterov": True, "learning_rate": 0.1}}),
    "clipped": (Method(), {"weights": {"clip": 0.05, "learning_rate": 0.1}}),
    "fair": (
        Method(relaxation=Sigmoid(), penalty=ZeroOne(10.0)),
        {"alphas": {"betas": (0.9, 0.999), "learning_rate": 3e-3}},
    ),
}


def test_the_alphas_learning_rate_follows_a_cosine_if_asked_to() -> None:
    """Adam's first step is as long as its learning rate, whatever the gradient."""
    for epoch, share in ((0, 1.0), (1, 0.75), (2, 0.25), (3, 0.0)):
        found = searcher(count=4, alphas={"learning_rate": 0.1, "final_learning_rate": 0.0, "weight_decay": 0.0})
        before = {name: alphas.detach().clone() for name, alphas in found.alphas.items()}
        one_epoch(found, Epoch(Progress(epoch, 3), 0.01, ("search", epoch)), ignore)
        for name, alphas in found.alphas.items():
            moved = (alphas.detach() - before[name]).abs()
            torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * share), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_three_steps_equal_a_textbook_darts(case: str) -> None:
    method, given = CASES[case]
    supernet = small_supernet()
    alphas = {
        g.name: torch.randn(g.shape, generator=torch.Generator().manual_seed(8)).double() for g in supernet.groups
    }
    found = searcher(method, supernet=copy.deepcopy(supernet), place=DOUBLE, start=alphas, **given)
    assert len(found.training) == 3
    record = one_epoch(found, Epoch(Progress(0, 2), found.settings.weights.learning_rate, ("search", 0)), quiet)
    penalty = 10.0 if case == "fair" else 0.0
    relax = torch.sigmoid if case == "fair" else lambda value: torch.softmax(value, -1)
    expected = textbook_darts(supernet, alphas, 3, found.settings, penalty, relax, case == "weights first")
    state = state_of(found)
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
        still = alphas.get(name.removeprefix("alphas."), supernet.state_dict().get(name))
        if value.is_floating_point() and still is not None:
            assert not torch.equal(value, still.to(value)), "the case must move everything"
    assert math.isfinite(record["train_loss"])


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_searchs_unrolled_step_knows_its_optimizer(nesterov: bool) -> None:
    """What `Descent` says leads to the weights that the optimizer really takes, momentum of earlier steps included."""
    seen: list[tuple[dict[str, Tensor], Any]] = []

    @dataclass(frozen=True)
    class Peek:
        kind: ClassVar[str] = "peek"

        def __call__(self, search: Any, training: Any, mixture: Any, weights: Any, descent: Any) -> Any:
            gradients = torch.autograd.grad(
                training({n: v.detach() for n, v in mixture.items()}), list(weights.values())
            )
            ahead = {}
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                step = gradient + descent.weight_decay * weight
                buffer = descent.momentum * descent.buffers[name] + step if descent.buffers else step
                ahead[name] = (
                    weight - descent.learning_rate * (step + descent.momentum * buffer if descent.nesterov else buffer)
                ).detach()
            seen.append((ahead, {n: w.detach().clone() for n, w in weights.items()}))
            found = FirstOrder()(search, training, mixture, weights, descent)
            return replace(found, layers={n: torch.zeros_like(v) for n, v in found.layers.items()})

    found = searcher(
        Method(hypergradient=Peek()),
        place=DOUBLE,
        weights={"nesterov": nesterov, "clip": 1e9},
        alphas={"weight_decay": 0.0},
    )
    one_epoch(found, Epoch(Progress(0, 2), 0.05, ("search", 0)), quiet)
    final = {name: weight.detach() for name, weight in found.weights.items()}
    actual = [before for _, before in seen[1:]] + [final]
    for (ahead, _), after in zip(seen, actual, strict=True):
        for name, value in ahead.items():
            torch.testing.assert_close(value, after[name], rtol=1e-12, atol=1e-14)


METHODS_TO_REPEAT = {
    "adversarial": Method(perturbation=AdversarialSmoothing()),
    "random": Method(perturbation=RandomSmoothing()),
    "aligned": Method(alignment=LayerAlignment()),
    "unrolled": Method(hypergradient=Unrolled()),
}


@pytest.mark.parametrize("kind", METHODS_TO_REPEAT)
def test_the_same_seed_gives_the_same_bits(kind: str) -> None:
    def run(seed: int) -> tuple[dict[str, Tensor], list[dict[str, Any]], str]:
        supernet = small_supernet(dropout=0.2)
        torch.rand(seed + 1)  # what torch's own stream stands at must not matter
        found = searcher(METHODS_TO_REPEAT[kind], supernet=supernet, seed=seed)
        history = [{k: v for k, v in record.items() if k != "seconds"} for record in search(found)]
        genotype = genotype_of("custom", found.method.selection(trained(found, seed)), found.groups)
        return state_of(found), history, genotype.to_json()

    first, second, other = run(3), run(3), run(4)
    assert same(first[0], second[0])
    assert first[1:] == second[1:]
    assert not same(first[0], other[0])
    assert first[1] != other[1]


def test_the_noise_operation_is_reproducible() -> None:
    def run() -> dict[str, Tensor]:
        torch.manual_seed(0)
        supernet = S4(2, 3).supernet(TASK)
        found = searcher(supernet=supernet, epochs=1)
        search(found)
        return state_of(found)

    assert same(run(), run())


@dataclass(frozen=True)
class RecordingHypergradient:
    log: list[str] = field(hash=False)
    kind: ClassVar[str] = "recording"

    def __call__(self, search: Any, training: Any, mixture: Any, weights: Any, descent: Any) -> Any:
        self.log.append("alphas")
        return FirstOrder()(search, training, mixture, weights, descent)


@dataclass(frozen=True)
class RecordingAlignment:
    log: list[str] = field(hash=False)
    kind: ClassVar[str] = "recording"

    def __call__(self, loss: Any, mixture: Any, weights: Any, groups: Any, progress: Any) -> Any:
        self.log.append("weights")
        return NoAlignment()(loss, mixture, weights, groups, progress)


@pytest.mark.parametrize("weights_first", [False, True])
def test_the_order_of_the_two_moves(weights_first: bool) -> None:
    log: list[str] = []
    method = Method(hypergradient=RecordingHypergradient(log), alignment=RecordingAlignment(log))
    search(searcher(method, epochs=1, weights_first=weights_first))
    assert log == (["weights", "alphas"] if weights_first else ["alphas", "weights"]) * 3


def test_cosine_is_pytorchs() -> None:
    for start, end, epochs in ((0.025, 0.001, 50), (0.1, 0.0, 7)):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], start)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, end)
        for epoch in range(epochs):
            assert cosine(start, end, epoch, epochs) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
            optimizer.step()
            schedule.step()
    assert cosine(0.025, 0.001, 0, 50) == 0.025
    assert cosine(0.025, 0.001, 25, 50) == pytest.approx(0.013)
    assert cosine(0.025, 0.001, 50, 50) == pytest.approx(0.001)


def test_the_rate_of_every_epoch_reaches_the_optimizer() -> None:
    used: list[float] = []
    found = searcher(epochs=4, weights={"learning_rate": 0.1, "final_learning_rate": 0.02})
    found.weight_optimizer.register_step_pre_hook(
        lambda optimizer, *_: used.append(float(optimizer.param_groups[0]["lr"]))
    )
    history = search(found)
    expected = [0.02 + 0.08 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert used == pytest.approx([rate for rate in expected for _ in range(3)])
    assert [record["learning_rate"] for record in history] == pytest.approx(expected)


def test_gradients_are_clipped_at_the_norm() -> None:
    norms: list[float] = []
    found = searcher(weights={"clip": 0.01})
    found.weight_optimizer.register_step_pre_hook(
        lambda *_: norms.append(float(torch.cat([w.grad.flatten() for w in found.weights.values()]).norm()))
    )
    search(found)
    assert norms == pytest.approx([0.01] * 6, rel=1e-3)


class Summed(nn.Module):
    """Two parameters whose gradients autograd hands out as one and the same tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.randn(3, 192, generator=torch.Generator().manual_seed(0)) / 10)
        self.delta = nn.Parameter(torch.zeros(3, 192))
        self.choice = Choice({"a": nn.Identity(), "b": nn.Tanh()})

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.choice(x.flatten(1)), self.base + self.delta)


def test_gradients_that_share_memory_are_clipped_once() -> None:
    norms: list[float] = []
    found = searcher(supernet=ModuleSupernet(Summed()), weights={"clip": 0.01})
    found.weight_optimizer.register_step_pre_hook(
        lambda *_: norms.append(float(torch.cat([w.grad.flatten() for w in found.weights.values()]).norm()))
    )
    search(found)
    assert norms == pytest.approx([0.01] * 6, rel=1e-3)


def test_frozen_weights_stay() -> None:
    module = small_network()
    for parameter in module[0].parameters():
        parameter.requires_grad_(False)
    frozen, free = module[0].weight.clone(), module[8].weight.clone()
    for method in (Method(), Method(hypergradient=Unrolled()), Method(alignment=LayerAlignment())):
        found = searcher(method, supernet=ModuleSupernet(copy.deepcopy(module)), epochs=2)
        search(found)
        assert torch.equal(found.supernet.module[0].weight, frozen)  # type: ignore[union-attr, index]
        assert not torch.equal(found.supernet.module[8].weight, free)  # type: ignore[union-attr, index]


def test_warm_up_and_blank_leave_the_alphas_bit_identical() -> None:
    blank = searcher(Method(curriculum=Blank(), selection=PerturbationRule()))
    start = {name: value.detach().clone() for name, value in blank.alphas.items()}
    history = search(blank)
    assert all(torch.equal(value, start[name]) for name, value in blank.alphas.items())
    assert all(record["search_loss"] is None and record["penalty"] is None for record in history)

    warm = searcher(Method(curriculum=WarmUp(0.5)))
    start = {name: value.detach().clone() for name, value in warm.alphas.items()}
    weights = {name: value.detach().clone() for name, value in warm.weights.items()}
    one_epoch(warm, Epoch(Progress(0, 2), 0.1, ("search", 0)), quiet)
    assert all(torch.equal(value, start[name]) for name, value in warm.alphas.items())
    assert not any(torch.equal(value, weights[name]) for name, value in warm.weights.items())
    one_epoch(warm, Epoch(Progress(1, 2), 0.1, ("search", 1)), quiet)
    assert not any(torch.equal(value, start[name]) for name, value in warm.alphas.items())


@dataclass(frozen=True)
class SeenMixtures:
    """An alignment that keeps the mixtures of the weight steps."""

    seen: list[dict[str, Tensor]] = field(hash=False)
    kind: ClassVar[str] = "seen"

    def __call__(self, loss: Any, mixture: Any, weights: Any, groups: Any, progress: Any) -> Any:
        self.seen.append({name: values.detach().clone() for name, values in mixture.items()})
        return NoAlignment()(loss, mixture, weights, groups, progress)


@dataclass(frozen=True)
class SeenSearch:
    seen: list[dict[str, Tensor]] = field(hash=False)
    kind: ClassVar[str] = "seen"

    def __call__(self, search: Any, training: Any, mixture: Any, weights: Any, descent: Any) -> Any:
        self.seen.append({name: values.detach().clone() for name, values in mixture.items()})
        return FirstOrder()(search, training, mixture, weights, descent)


@pytest.mark.parametrize("perturbation", [RandomSmoothing(0.2, 0.3), AdversarialSmoothing(0.2, 0.3)])
def test_decided_rows_stay_one_hot_in_both_steps(perturbation: Any) -> None:
    in_weights: list[dict[str, Tensor]] = []
    in_alphas: list[dict[str, Tensor]] = []
    method = Method(perturbation=perturbation, alignment=SeenMixtures(in_weights), hypergradient=SeenSearch(in_alphas))
    found = searcher(method, start={"shared": torch.zeros(1, 3), "5": torch.zeros(1, 3)})
    found.edits = Edits.none(found.groups).decide("shared", 0, 1)
    one_epoch(found, Epoch(Progress(1, 2), 0.05, ("tune", 0)), quiet)
    assert len(in_weights) == len(in_alphas) == 3
    for mixture in in_weights + in_alphas:
        assert torch.equal(mixture["shared"], torch.tensor([0.0, 1.0, 0.0]).expand(2, 1, 3))
    assert all(0 < float(value) < 1 for mixture in in_alphas for value in mixture["5"].flatten())
    assert any(float((a["5"] - b["5"]).abs().max()) > 0.01 for a, b in zip(in_weights, in_alphas, strict=True))
    assert not torch.equal(found.alphas["5"], torch.zeros(1, 3)), "undecided alphas go on moving"


@pytest.mark.parametrize("edit", ["decide", "remove", "drop"])
def test_an_attack_on_an_edited_supernet_sees_the_edits(edit: str) -> None:
    """What is attacked is the network that is trained: decided and removed rows are as decided, in every pass."""
    seen: list[dict[str, Tensor]] = []

    class Watched(AdversarialSmoothing):
        def __call__(self, mixture: Any, loss: Any, relaxation: Any, progress: Any, generator: Any) -> Any:
            assert all(torch.allclose(v.sum(-1), torch.ones(())) for v in mixture.values()), "a mixture to be perturbed"
            return super().__call__(mixture, loss, relaxation, progress, generator)

    supernet = small_supernet()
    supernet.register_forward_pre_hook(
        lambda module, given: (
            seen.append({n: v.detach().clone() for n, v in given[1].items()}) if not module.training else None
        )
    )
    found = searcher(Method(perturbation=Watched(0.2, 0.3)), supernet=supernet)
    edits = Edits.none(found.groups)
    found.edits = edits.remove("shared", 0) if edit == "remove" else getattr(edits, edit)("shared", 0, 1)
    one_epoch(found, Epoch(Progress(1, 2), 0.05, ("tune", 0)), quiet)
    assert len(seen) == 3 * 9
    for mixture in seen:
        rows = mixture["shared"][:, 0]
        if edit == "drop":
            assert not rows[:, 1].any()
        else:
            assert torch.equal(rows, torch.tensor([0.0, float(edit == "decide"), 0.0]).expand(2, 3))


def test_perturbation_reaches_the_weight_step_alone() -> None:
    in_weights: list[dict[str, Tensor]] = []
    in_alphas: list[dict[str, Tensor]] = []
    method = Method(
        perturbation=RandomSmoothing(0.2, 0.2), alignment=SeenMixtures(in_weights), hypergradient=SeenSearch(in_alphas)
    )
    start = {"shared": torch.tensor([[0.1, 0.2, 0.3]]), "5": torch.zeros(1, 3)}
    found = searcher(method, start=start, size=12)
    search(found)
    clean = torch.softmax(start["shared"], -1)
    torch.testing.assert_close(in_alphas[0]["shared"], clean.expand(2, 1, 3))
    assert all(float((seen["shared"][0] - clean).abs().max()) > 0.01 for seen in in_weights)
    other: list[dict[str, Tensor]] = []
    search(searcher(replace(method, alignment=SeenMixtures(other)), start=start, size=12, seed=1))
    draws = [seen["shared"][0] - clean for seen in (*in_weights, *other)]
    for first, second in itertools.combinations(draws, 2):
        assert float((first - second).abs().max()) > 0.02, "every step and every seed draws anew"


def test_a_slot_of_ones_own_works_without_touching_anything() -> None:
    """A researcher's view: a relaxation, a penalty and a perturbation written here and now."""

    @dataclass(frozen=True)
    class Temperature:
        temperature: float
        kind: ClassVar[str] = "temperature"

        def initial(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
            return torch.arange(shape[0] * shape[1]).reshape(shape) / 100

        def __call__(self, alphas: Tensor) -> Tensor:
            return torch.softmax(alphas / self.temperature, dim=-1)

        def renormalise(self, values: Tensor) -> Tensor:
            return Softmax().renormalise(values)

        def project(self, values: Tensor, centre: Tensor, radius: float) -> Tensor:
            return Softmax().project(values, centre, radius)

    @dataclass(frozen=True)
    class Skips:
        weight: float
        kind: ClassVar[str] = "skips"

        def __call__(self, relaxed: Relaxed) -> Tensor:
            return self.weight * torch.stack([values[:, 1].sum() for values in relaxed.probabilities.values()]).sum()

    @dataclass(frozen=True)
    class Uniform:
        kind: ClassVar[str] = "uniform"

        def __call__(self, mixture: Any, loss: Any, relaxation: Any, progress: Any, generator: Any) -> Any:
            return {name: torch.full_like(values, 1 / values.shape[-1]) for name, values in mixture.items()}

    seen: list[dict[str, Tensor]] = []
    method = Method(
        relaxation=Temperature(0.5), penalty=Skips(100.0), perturbation=Uniform(), alignment=SeenMixtures(seen)
    )
    method.check(small_supernet().groups, 2)
    found = searcher(method, epochs=3)
    before = found.probabilities()
    history = search(found)
    after = found.probabilities()
    assert all(bool((after[name][:, 1] < before[name][:, 1]).all()) for name in after), "the penalty pushed skips down"
    assert all(torch.allclose(mixture["5"], torch.full((1, 1, 3), 1 / 3)) for mixture in seen)
    expected = 100 * sum(float(values[:, 1].sum().detach()) for values in before.values())
    assert history[0]["penalty"] == pytest.approx(expected, rel=0.02)


def test_what_the_listener_hears() -> None:
    heard: list[Any] = []
    found = searcher(epochs=2)
    history = search(found, heard.append)
    assert heard[0] == Started("search", 6)
    assert [event.done for event in heard if isinstance(event, Stepped)] == [1, 2, 3, 4, 5, 6]
    assert [event.record for event in heard if isinstance(event, EpochEnded)] == history
    assert [record["epoch"] for record in history] == [0, 1]


def test_the_record_by_hand() -> None:
    """One batch per epoch, so that means are that batch's own numbers."""
    alphas = {"shared": torch.tensor([[0.0, 1.0, 2.0]]), "5": torch.tensor([[0.0, 3.0, 1.0]])}
    found = searcher(Method(penalty=ZeroOne(4.0)), place=DOUBLE, start=alphas, size=12)
    net = copy.deepcopy(found.supernet)
    images, labels = next(batches(12, 12, 2, DOUBLE).epoch(stream(0, "search order", "search", 0, 0)))
    rows = {name: value.double().softmax(-1) for name, value in alphas.items()}
    leaves = {g.name: rows[g.name].expand(g.layers, 1, 3).clone().requires_grad_() for g in found.groups}
    logits = net(images, leaves)
    loss = F.cross_entropy(logits, labels)
    (layers,) = torch.autograd.grad(loss, [leaves["shared"]])
    record = search(found)[0]
    assert record["search_loss"] == pytest.approx(float(loss.detach()), rel=1e-12)
    assert record["search_accuracy"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    cos = F.cosine_similarity(layers[0].flatten(), layers[1].flatten(), dim=0)
    assert record["alignment"]["search"] == pytest.approx(float(cos), rel=1e-9)
    entries = torch.cat([value.flatten() for value in rows.values()])
    assert record["penalty"] == pytest.approx(-4 * float(((entries - 0.5) ** 2).mean()), rel=1e-9)
    assert -1 <= record["alignment"]["train"] <= 1
    assert record["skip_share"] == 0.5, "skip_connect leads in one of the two rows"
    now = found.probabilities()["5"]
    statistics = mixture_statistics(found.probabilities(), found.groups)["5"]
    assert statistics["max"] == pytest.approx(float(now.detach().max()))
    assert statistics["entropy"] == pytest.approx(
        float(torch.distributions.Categorical(now).entropy().detach()), rel=1e-6
    )


def test_training_accuracy_and_alignment_do_not_depend_on_the_correction() -> None:
    found = searcher(Method(), size=12, epochs=1)
    aligned = searcher(Method(alignment=LayerAlignment()), size=12, epochs=1)
    first, second = search(found)[0], search(aligned)[0]
    assert first["alignment"]["train"] == pytest.approx(second["alignment"]["train"], rel=1e-5)
    assert first["train_accuracy"] == second["train_accuracy"]
    assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-6)
    assert abs(first["train_accuracy"] * 12 - round(first["train_accuracy"] * 12)) < 1e-6


def test_a_search_that_diverges_says_so() -> None:
    found = searcher(epochs=1, weights={"learning_rate": 1e30, "clip": 1e30})
    with pytest.raises(
        Refused, match=r"diverged in the \w+' step \d of search epoch 1: .*not finite in .*learning_rate"
    ):
        search(found)


@dataclass(frozen=True)
class Poisoned(NoAlignment):
    """The gradient of one weight is no number from the second call on."""

    calls: ClassVar[list[int]] = []

    def __call__(self, *arguments: Any) -> Any:
        found = super().__call__(*arguments)
        self.calls.append(1)
        if len(self.calls) < 2:
            return found
        weights = dict(found.weights)
        name = list(weights)[-1]
        weights[name] = weights[name] * torch.nan
        return replace(found, weights=weights)


@dataclass(frozen=True)
class PoisonedMixture(FirstOrder):
    """The mixture's gradient is no number in one layer."""

    def __call__(self, *arguments: Any) -> Any:
        found = super().__call__(*arguments)
        layers = {name: values.clone() for name, values in found.layers.items()}
        next(iter(layers.values()))[1, 0, 0] = torch.inf
        return replace(found, layers=layers)


def test_what_is_not_finite_is_not_taken_up() -> None:
    Poisoned.calls.clear()
    found = searcher(Method(alignment=Poisoned()), epochs=1)
    before: list[dict[str, Tensor]] = []
    found.weight_optimizer.register_step_pre_hook(
        lambda *_: before.append({name: value.detach().clone() for name, value in found.weights.items()})
    )
    with pytest.raises(Diverged, match=r"the weights' step 2 of search epoch 1: .* not finite in [^;]*;"):
        search(found)
    assert all(torch.equal(before[-1][name], weight) for name, weight in found.weights.items())


def test_group_and_layer_are_named() -> None:
    with pytest.raises(
        Diverged, match=r"the alphas' step 1 of search epoch 1: .* not finite in group '\w+', layer 1[^;]*;"
    ):
        search(searcher(Method(hypergradient=PoisonedMixture()), epochs=1))


class Uneven:
    """A search half of another length than the training half."""

    def __init__(self, inner: Batches) -> None:
        self.inner, self.batch_size, self.turns = inner, inner.batch_size, 0

    def __len__(self) -> int:
        return len(self.inner)

    def epoch(self, generator: torch.Generator, start: int = 0) -> Any:
        self.turns += 1
        return self.inner.epoch(generator, start)


def test_a_shorter_search_half_is_gone_through_again() -> None:
    found = searcher(epochs=1)
    found.searching = Uneven(batches(4, 4, 2))  # type: ignore[assignment]
    search(found)
    assert found.searching.turns == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_tuning_keeps_schedules_at_their_end_and_has_a_rate_of_its_own(schedule: Any) -> None:
    seen: list[Progress] = []

    @dataclass(frozen=True)
    class Seen:
        kind: ClassVar[str] = "seen"

        def __call__(self, mixture: Any, loss: Any, relaxation: Any, progress: Progress, generator: Any) -> Any:
            seen.append(progress)
            return mixture

    rates: list[float] = []
    used: list[float] = []
    found = searcher(Method(perturbation=Seen()), epochs=2)
    search(found)
    before = state_of(found)
    seen.clear()
    restart = found.restart

    def watched(learning_rate: float) -> None:
        restart(learning_rate)
        hook = lambda optimizer, *_: used.append(float(optimizer.param_groups[0]["lr"]))  # noqa: E731
        found.weight_optimizer.register_step_pre_hook(hook)

    found.restart = watched  # type: ignore[method-assign]

    def listen(event: object) -> None:
        if isinstance(event, EpochEnded):
            rates.append(event.record["learning_rate"])

    tuned = trained(found, listen=listen)
    edits = Edits.none(found.groups).decide("shared", 0, 0)
    clean = tuned.compare([Edits.none(found.groups)])
    assert tuned.compare([Edits.none(found.groups)]) == clean
    assert tuned.compare([edits]) != clean
    tuned.tune(edits, 1, 0, 4, schedule)
    tuned.tune(edits, 1, 1, 4, schedule)
    expected = [0.0025, 0.0025] if schedule == "constant" else [0.0025, cosine(0.0025, 0.001, 1, 4)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert used == pytest.approx([rate for rate in expected for _ in range(3)], rel=1e-12), "SGD has it too"
    assert all(RandomSmoothing().radius(progress) == pytest.approx(0.3) for progress in seen)
    assert len(seen) == 6
    assert not same(state_of(found), before), "tuning trains"
    assert torch.equal(found.probabilities()["shared"].detach(), torch.tensor([[1.0, 0.0, 0.0]]))


def test_before_tuning_sgd_restarts_once_and_adam_goes_on() -> None:
    found = searcher(Method(selection=PerturbationRule()), place=DOUBLE)
    search(found)
    moments = adam_of(found)
    assert {label.rpartition("/")[2] for label in moments} == {"step", "exp_avg", "exp_avg_sq"}
    copied = clone(found)
    momentum: list[list[Tensor]] = []
    adam: list[dict[str, Tensor]] = []

    def listen(event: object) -> None:
        if isinstance(event, Started):
            state = copied.weight_optimizer.state
            momentum.append([state[weight]["momentum_buffer"].clone() for weight in copied.weights.values()])
            adam.append(adam_of(copied))

    tuned = trained(copied, listen=listen)
    for done in (0, 1):
        tuned.tune(Edits.none(found.groups), 1, done, 2)
    assert not any(buffer.any() for buffer in momentum[0]), "SGD begins anew"
    assert all(buffer.any() for buffer in momentum[1]), "once"
    assert same(adam[0], moments), "Adam does not"
    assert [float(each["shared/step"]) for each in (*adam, adam_of(copied))] == [6, 9, 12]
    assert same(adam_of(found), moments), "the search's own stays as it was"


def test_measuring_changes_nothing_and_counts_every_image() -> None:
    found = searcher(place=DOUBLE)
    before = state_of(found)
    edits = Edits.none(found.groups).drop("shared", 0, 2)
    (score,) = trained(found).compare([edits])
    assert score is not None
    assert same(state_of(found), before)
    rows = {name: value.detach().clone() for name, value in found.probabilities().items()}
    rows["shared"][0, 2] = 0
    net = copy.deepcopy(found.supernet).train()
    losses, correct = [], 0
    for images, labels in batches(12, 4, 2, DOUBLE).ordered():
        logits = net(images, {g.name: rows[g.name].expand(g.layers, 1, 3) for g in found.groups})
        losses.append(float(F.cross_entropy(logits, labels).detach()))
        correct += int((logits.argmax(1) == labels).sum())
    assert score.loss == pytest.approx(sum(losses) / 3, rel=1e-6)
    assert score.quality == pytest.approx(correct / 12)


class Counted:
    """Counts the images that a supernet sees."""

    def __init__(self, supernet: nn.Module) -> None:
        self.images = 0
        supernet.register_forward_pre_hook(self._count)

    def _count(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.images += len(args[0])


def drops(found: Any) -> list[Edits]:
    clean = Edits.none(found.groups)
    return [clean, *(clean.drop("shared", 0, candidate) for candidate in range(3)), clean.remove("shared", 0)]


def test_edits_compared_together_score_as_each_alone() -> None:
    """With dropout, so that the random numbers of a batch must be the same for all; the lone 13th image is left out."""
    found = searcher(supernet=small_supernet(dropout=0.5), count=13)
    measured, count = trained(found), Counted(found.supernet)
    edits = drops(found)
    together = measured.compare(edits)
    assert count.images == 12 * len(edits)
    assert [measured.compare([edit])[0] for edit in edits] == together
    assert measured.compare(edits, lambda standing: torch.ones(len(standing.hits), dtype=torch.bool)) == together
    assert len(set(together)) == len(edits)


def test_who_leaves_the_race_is_not_evaluated_again() -> None:
    found = searcher(count=13)
    measured, count = trained(found), Counted(found.supernet)
    edits, seen = drops(found), []

    def keep(standing: Standing) -> Tensor:
        seen.append(standing)
        return torch.tensor([False, True, True, False, False] if standing.look == 1 else [True, True])

    scores = measured.compare(edits, keep)
    full = measured.compare(edits)
    assert scores == [None, full[1], full[2], None, None]
    assert count.images == 5 * 4 + 2 * 8 + 5 * 12
    assert [(s.hits.shape, s.total, s.look, s.looks) for s in seen] == [((5, 4), 12, 1, 3), ((2, 8), 12, 2, 3)]
    assert torch.equal(seen[1].hits[:, :4], seen[0].hits[1:3]), "hits stay with their candidate"
    for place, index in enumerate((1, 2)):
        right = [round(score.quality * 12) for score in full if score is not None][index]
        assert 0 <= right - int(seen[1].hits[place].sum()) <= 4


def test_a_race_with_one_left_is_over() -> None:
    found = searcher()
    measured, count = trained(found), Counted(found.supernet)
    edits = drops(found)
    scores = measured.compare(edits, lambda standing: torch.arange(len(standing.hits)) == 3)
    assert count.images == 5 * 4
    assert [score is None for score in scores] == [True, True, True, False, True]
    images, labels = next(iter(found.searching.ordered()))
    mixture = expand(edits[3].apply(found.probabilities()), found.groups)
    logits = copy.deepcopy(found.supernet).train()(images, mixture)
    assert scores[3] is not None
    assert scores[3].quality == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert scores[3].loss == pytest.approx(float(F.cross_entropy(logits, labels).detach()), rel=1e-6)


class Complete:
    """A trained supernet that does not hear who is out of the race."""

    def __init__(self, inner: TrainedSupernet) -> None:
        self.inner, self.generator, self.groups = inner, inner.generator, inner.groups

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def compare(self, edits: Any, keep: Any = None, metric: Any = None) -> Any:
        return self.inner.compare(edits, None, metric)


class Blind(nn.Module):
    """Throws the signal away: the mean over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=0, keepdim=True).expand_as(x)


def sighted(seed: int) -> Searcher:
    """A supernet that sees the label in the colour, unless its one candidate that lets it through is missing."""
    first = Choice({"skip_connect": nn.Identity(), "blind": Blind(), "blind2": Blind()})
    second = Choice({"blind": Blind(), "skip_connect": nn.Identity()})
    network = nn.Sequential(first, second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3, bias=False))
    with torch.no_grad():
        network[4].weight.copy_(torch.eye(3))
    found = searcher(supernet=ModuleSupernet(network), count=60)
    pixels = torch.randint(0, 150, (60, 3, 8, 8), generator=stream(seed), dtype=torch.uint8)
    labels = torch.randint(0, 3, (60,), generator=stream(seed, "labels"))
    pixels[torch.arange(60), labels] += 40
    found.searching = Batches(
        Images(pixels, labels, ("a", "b", "c")), 4, augmentation=Augmentation(), mean=(0.4,) * 3, std=(0.3,) * 3,
        device="cpu",
    )  # fmt: skip
    return found


def fitted(seed: int) -> Searcher:
    """A trained supernet on noise: candidates hardly differ."""
    found = searcher(supernet=small_supernet(seed), count=40, seed=seed)
    search(found)
    return found


@pytest.mark.parametrize("opened", [sighted, fitted])
def test_stopping_early_decides_as_the_full_evaluation(opened: Any) -> None:
    saved, rule = 0, PerturbationRule("accuracy", 0)
    for seed in range(3):
        found = opened(seed)
        count = Counted(found.supernet)
        early = rule(trained(found, seed))
        images, count.images = count.images, 0
        assert rule(Complete(trained(found, seed))) == early  # type: ignore[arg-type]
        saved += count.images - images
        assert saved >= 0
        if opened is sighted:
            assert early == {"0": ((0,),), "1": ((1,),)}
    assert (saved > 0) == (opened is sighted)


def test_precision_follows_the_place() -> None:
    for place, dtype in ((SINGLE, torch.float32), (DOUBLE, torch.float64)):
        found = searcher(place=place)
        search(found)
        assert all(value.dtype == dtype for value in (*found.alphas.values(), *found.weights.values()))
