"""Random numbers that are handed in: the same again, others with another seed, none drawn twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from poise.supernet.draws import Chance, Draws, Global

CPU = torch.device("cpu")
KINDS: dict[str, Callable[[Chance], Tensor]] = {
    "uniform": lambda draws: draws.uniform((50, 40), torch.float32),
    "normal": lambda draws: draws.normal((50, 40), torch.float32),
    "kept": lambda draws: draws.kept((50, 40), 0.25),
}
CHANCES: dict[str, Chance] = {"own": Draws(1, CPU), "exact": Draws(1, CPU, exact=True), "global": Global(CPU)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "chance", [Draws(1, CPU), Draws(1, CPU, exact=True), Global(CPU)], ids=["own", "exact", "global"]
)
def test_what_it_draws(kind: str, chance: Chance) -> None:
    torch.manual_seed(0)
    found = torch.cat([KINDS[kind](chance) for _ in range(10)]).double()
    mean, deviation = {"uniform": (0.5, 12**-0.5), "normal": (0, 1), "kept": (0.75, 0.1875**0.5)}[kind]
    assert float(found.mean()) == pytest.approx(mean, abs=0.03)
    assert float(found.std()) == pytest.approx(deviation, abs=0.03)
    assert kind != "uniform" or 0 <= float(found.min()) < 0.01 < 0.99 < float(found.max()) <= 1


@pytest.mark.parametrize("exact", [False, True])
def test_again_gives_the_same_tensors_and_refill_others_in_the_same_memory(exact: bool) -> None:
    draws = Draws(1, CPU, exact)
    first = [draw(draws) for draw in KINDS.values()]
    before = [values.clone() for values in first]
    assert not torch.equal(first[0], draws.uniform((50, 40), torch.float32)), "each asks for its own"
    draws.again()
    assert all(draw(draws) is values for draw, values in zip(KINDS.values(), first, strict=True))
    draws.refill(2)
    fresh = Draws(2, CPU, exact)
    for draw, values, old in zip(KINDS.values(), first, before, strict=True):
        assert draw(draws) is values
        assert not torch.equal(values, old)
        assert torch.equal(values, draw(fresh)), "as if it had begun with this seed"


def test_a_tensor_depends_on_its_place_and_not_on_what_was_drawn_before() -> None:
    first, other = Draws(1, CPU), Draws(1, CPU)
    first.normal((3,), torch.float32)
    other.uniform((300,), torch.float64)
    assert torch.equal(first.normal((4,), torch.float32), other.normal((4,), torch.float32))


def test_calls_that_ask_differently_do_not_disturb_each_other() -> None:
    """Such as those in evaluation mode between those that train."""
    draws = Draws(1, CPU)
    training = draws.kept((4,), 0.5)
    assert draws.again().normal((4,), torch.float32) is not training
    assert draws.again().kept((4,), 0.5) is training


def test_exact_numbers_are_the_same_in_every_precision() -> None:
    single, double = (Draws(1, CPU, exact=True).uniform((40,), dtype) for dtype in (torch.float32, torch.float64))
    assert torch.equal(single, double.float())


def test_torchs_own_generators_do_not_notice() -> None:
    state = torch.random.get_rng_state()
    for exact in (False, True):
        Draws(1, CPU, exact).normal((4,), torch.float32)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_on_the_meta_device_there_are_none() -> None:
    assert Draws(1, torch.device("meta")).refill(2).normal((4,), torch.float32).is_meta
