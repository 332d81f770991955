"""Sums over processes, against the same computed by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from many import together
from poise.errors import Refused
from poise.supernet.draws import Draws
from poise.supernet.global_norm import GlobalNorm, average_statistics, globally, locally, normalised
from poise.supernet.normed_sum import Term, normed_sum
from poise.supernet.processes import ALONE, Processes, of_rows
from poise.supernet.untracked import untracked

ROWS = 7
"""Of a batch: 4 and 3 for two processes, 2, 2, 2, 1 for four."""


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(first: Any, other: Any) -> bool:
    return all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_row_has_one_process(count: int) -> None:
    parts = [Processes(rank, count).part(torch.arange(ROWS)) for rank in range(count)]
    assert torch.cat(parts).tolist() == list(range(ROWS))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_alone_nothing_is_sent_or_copied() -> None:
    value = torch.ones(3, requires_grad=True)
    given = {"w": value}
    assert ALONE.shared(given) is given
    assert ALONE.whole(value) is ALONE.total(value) is ALONE.gathered(value, 3) is ALONE.part(value) is value
    assert ALONE.summed([value])[0] is value
    assert ALONE.same(3) == ALONE.led(lambda: 3) == ALONE.together(lambda: 3) == ALONE.least(3) == 3


def curved(x: Tensor, w: Tensor, processes: Processes) -> list[Tensor]:
    """A loss of all rows with statistics of all rows in it, its gradient, and a product with its Hessian."""
    own = processes.part(x)
    (shared,) = processes.shared({"w": w}).values()
    y = (own @ shared).tanh()
    mean = processes.total(y.sum(0)) / len(x)
    loss = processes.whole(((y - mean).pow(3) * own[:, :2]).sum() / len(x))
    (gradient,) = torch.autograd.grad(loss, w, create_graph=True)
    (product,) = torch.autograd.grad(gradient.pow(2).sum(), w)
    return [loss.detach(), gradient.detach(), product]


@pytest.mark.parametrize("count", [2, 4])
def test_a_loss_and_its_derivatives_are_those_of_one_process(count: int, tmp_path: Path) -> None:
    x, w = numbers(ROWS, 3), numbers(3, 2, seed=1).requires_grad_()
    alone = curved(x, w, ALONE)
    for found in together(count, tmp_path, lambda: curved(x, w, Processes.here())):
        assert close(found, alone)


def test_what_a_loss_does_not_depend_on_has_no_gradient(tmp_path: Path) -> None:
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)

    def work() -> Any:
        processes = Processes.here()
        shared = processes.shared({"used": used, "unused": unused})
        return torch.autograd.grad(processes.whole(shared["used"].sum()), [used, unused], allow_unused=True)

    for found, none in together(2, tmp_path, work):
        assert found.tolist() == [2, 2]
        assert none is None


def normed(module: nn.Module, x: Tensor, processes: Processes) -> list[Tensor]:
    """Outputs of this process's rows, their gradient's, and the running statistics."""
    whole = x.clone().requires_grad_()
    own = processes.part(whole)
    out = module(own)
    weights = processes.part(numbers(*x.shape, seed=2))
    loss = (out * weights).sum()
    (gradient,) = torch.autograd.grad(loss, own, create_graph=True)
    (again,) = torch.autograd.grad((gradient * weights).sum(), own)
    return [out.detach(), gradient.detach(), again, *(b.double() for b in module.buffers())]


@pytest.mark.parametrize("form", [{}, {"momentum": None}, {"affine": False}])
def test_a_global_normalisation_is_that_of_the_whole_batch(form: Any, tmp_path: Path) -> None:
    module = nn.BatchNorm2d(3, **form).double()
    if module.affine:
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
    x = 3 + numbers(ROWS, 3, 4, 5)

    def work() -> Any:
        processes = Processes.here()
        return normed(globally(module, processes), x, processes)

    parts = together(3, tmp_path, work)
    alone = normed(module, x, ALONE)
    for place in range(3):
        assert close([torch.cat([part[place] for part in parts])], [alone[place]])
    for part in parts:
        assert close(part[3:], alone[3:])


def test_replaced_normalisations_hold_the_same_tensors_and_can_be_put_back() -> None:
    module = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm1d(3).eval(), nn.Linear(2, 2)))
    before = {name: value.data_ptr() for name, value in module.state_dict().items()}
    replaced = globally(module, Processes(1, 2))
    assert {name: value.data_ptr() for name, value in replaced.state_dict().items()} == before
    found: Any = replaced
    assert isinstance(found[0], GlobalNorm)
    assert isinstance(found[0], nn.BatchNorm2d)
    assert found[0].processes == Processes(1, 2)
    assert not found[1][0].training
    with untracked(replaced) as copies:  # they tell whether they are to be tracked: nothing is copied
        assert not copies
        assert not found[0].track_running_stats
    back: Any = locally(replaced)
    assert (type(back[0]), type(back[1][0])) == (nn.BatchNorm2d, nn.BatchNorm1d)
    assert {name: value.data_ptr() for name, value in back.state_dict().items()} == before


def test_in_evaluation_a_global_normalisation_goes_by_its_running_statistics() -> None:
    module = nn.BatchNorm1d(2)
    nn.init.uniform_(module.running_mean)
    x = torch.randn(5, 2)
    assert torch.equal(globally(module, Processes(0, 2)).eval()(x), module.eval()(x))


@pytest.mark.parametrize("twice", [False, True])
def test_a_sum_of_normalised_candidates_is_that_of_the_whole_batch(twice: bool, tmp_path: Path) -> None:
    weights = [numbers(4, 3, 1, 1, seed=seed) for seed in (1, 2)]
    x, mixture = numbers(ROWS, 3, 4, 4), torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)

    def work() -> Any:
        processes = Processes.here()
        norms: Any = [nn.BatchNorm2d(n, affine=False).double() for n in (4, 4)]
        norms = [norm if processes.alone else globally(norm, processes) for norm in norms]
        leaves = [leaf.clone().requires_grad_() for leaf in (x, mixture, *weights)]
        shared = processes.shared({str(n): leaf for n, leaf in enumerate(leaves[1:])})
        own = processes.part(leaves[0])
        terms = [Term(own, shared["1"], norms[0]), Term(own.square(), shared["2"], norms[1])]
        out = normed_sum([*terms, Term(own.mean(1, keepdim=True).expand(-1, 4, -1, -1))], shared["0"])
        loss = processes.whole((out * processes.part(numbers(ROWS, 4, 4, 4, seed=5))).tanh().sum())
        found = torch.autograd.grad(loss, leaves[1:], create_graph=twice)
        if twice:
            found = torch.autograd.grad(sum((g * g).sum() for g in found), leaves[1:])
        return [loss.detach(), *found, *(b.double() for norm in norms for b in norm.buffers())]

    alone = work()
    for found in together(2, tmp_path, work):
        assert close(found, alone)


def test_a_process_without_a_row_takes_part(tmp_path: Path) -> None:
    x = numbers(2, 3, 2, 2)

    def work() -> Any:
        processes = Processes.here()
        found = normalised(processes.part(x), 1e-5, processes)
        return [found.values, found.mean, found.variance]

    parts = together(3, tmp_path, work)
    expected = nn.functional.batch_norm(x, None, None, training=True)
    assert close([torch.cat([part[0] for part in parts])], [expected])
    assert all(close(part[1:], [x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)]) for part in parts)


def test_random_numbers_of_rows_are_those_of_the_whole_batch() -> None:
    device = torch.device("cpu")
    for draw in (
        lambda chance, n: chance.normal((n, 3), torch.float64),
        lambda chance, n: chance.uniform((n, 3), torch.float64),
        lambda chance, n: chance.kept((n, 3), 0.5),
    ):
        parts = [
            draw(of_rows(Draws(5, device), processes, ROWS), len(range(ROWS)[processes.rows(ROWS)]))
            for processes in (Processes(0, 2), Processes(1, 2))
        ]
        assert torch.equal(torch.cat(parts), draw(Draws(5, device), ROWS))


def test_running_statistics_become_the_mean_of_all(tmp_path: Path) -> None:
    def work() -> Any:
        processes, module = Processes.here(), nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm1d(2))
        for norm in module:
            nn.init.constant_(norm.running_mean, processes.rank)
            nn.init.constant_(norm.running_var, 2 + processes.rank)
        average_statistics(module, processes)
        return [(norm.running_mean.tolist(), norm.running_var.tolist()) for norm in module]

    assert together(2, tmp_path, work) == [[([0.5] * 2, [2.5] * 2)] * 2] * 2


def test_all_agree_on_what_one_says(tmp_path: Path) -> None:
    def refuses(rank: int) -> Any:
        def work() -> str:
            if Processes.here().rank == rank:
                raise Refused("no such data")
            return "fine"

        return work

    def said(call: Any) -> str:
        try:
            return str(call())
        except Refused as refusal:
            return f"{type(refusal).__name__}: {refusal}"

    def work() -> Any:
        here = Processes.here()
        same = {"w": torch.ones(3)}
        other = {"w": torch.ones(3) + (here.rank == 1) * 1e-7}
        return [
            here.any(here.rank == 1), here.any(False), here.least(5 - here.rank), here.same(here.rank),
            said(lambda: here.led(lambda: here.rank)), said(lambda: here.led(refuses(0))),
            said(lambda: here.together(lambda: here.rank)), said(lambda: here.together(refuses(1))),
            said(lambda: here.check_same(same, "after epoch 1")),
            said(lambda: here.check_same(other, "after epoch 1"))[:60],
            here.gathered(torch.full((2 - here.rank, 1), here.rank), 3).flatten().tolist(),
        ]  # fmt: skip

    first, second = together(2, tmp_path, work)
    told = "after epoch 1 alphas and weights of process 1 are not those"
    assert first == [
        True, False, 4, 0, "0", "Refused: no such data", "0", "Refused: process 1: no such data", "None",
        f"Refused: {told}"[:60], [0, 0, 1],
    ]  # fmt: skip
    assert second == [
        True, False, 4, 0, "0", "Echoed: no such data", "1", "Echoed: process 1: no such data", "None",
        f"Echoed: {told}"[:60], [0, 0, 1],
    ]  # fmt: skip
