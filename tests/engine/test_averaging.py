"""Which alphas the selection gets: the mean over the last epochs, by hand and from a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from engine_support import searcher, state_of

from poise.engine.search import search
from poise.errors import Refused
from poise.methods import LastEpoch, Method, TailAverage
from poise.methods.slots import Verdict


def records(*values: float) -> list[dict[str, Any]]:
    return [{"alphas": {"cell": [[value, -value], [2 * value, 0.5]]}} for value in values]


def test_the_last_epoch_comes_back_to_the_last_bit() -> None:
    exact = torch.tensor([[0.1, 1e-30], [-3.3, 7.0]])
    found = LastEpoch()([*records(5.0), {"alphas": {"cell": exact.tolist()}}])
    assert torch.equal(found["cell"].float(), exact)


@pytest.mark.parametrize(
    ("share", "mean"),
    [(1.0, 4.0), (0.5, 7.0), (0.6, 5.0), (0.67, 5.0), (0.34, 7.0), (0.25, 10.0), (0.01, 10.0)],
)
def test_the_tail_by_hand(share: float, mean: float) -> None:
    """Of the epochs 1, 1, 4, 10: ⌈share·4⌉ of them from the end."""
    found = TailAverage(share)(records(1.0, 1.0, 4.0, 10.0))
    torch.testing.assert_close(found["cell"], torch.tensor([[mean, -mean], [2 * mean, 0.5]], dtype=torch.float64))


def test_a_tenth_of_ten_epochs_is_one() -> None:
    assert TailAverage(0.1)(records(*range(10)))["cell"][0, 0] == 9
    assert TailAverage(0.3)(records(*range(10)))["cell"][0, 0] == 8, "0.3·10 in floating point may lie above 3"


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_refusals(share: float) -> None:
    with pytest.raises(Refused, match="share of the tail average"):
        TailAverage(share)


def test_a_search_hands_over_the_mean_of_its_last_half() -> None:
    plain = searcher(epochs=4)
    history = search(plain)
    averaged = searcher(Method(averaging=TailAverage(0.5)), epochs=4)
    again = search(averaged)
    assert [record["alphas"] for record in again] == [record["alphas"] for record in history], "the search is the same"
    for name, alphas in averaged.alphas.items():
        third, fourth = (torch.tensor(record["alphas"][name], dtype=alphas.dtype) for record in history[2:])
        torch.testing.assert_close(alphas.detach(), (third + fourth) / 2)
        assert not torch.equal(alphas.detach(), plain.alphas[name].detach())
    weights = {name: value for name, value in state_of(averaged).items() if not name.startswith("alphas")}
    assert all(torch.equal(value, state_of(plain)[name]) for name, value in weights.items())


@dataclass(frozen=True)
class KeepsThree:
    kind: str = "keeps-three"

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> Verdict:
        return Verdict(min(2, len(history) - 1))


def test_what_a_guard_gives_up_is_not_averaged() -> None:
    method = Method(guard=KeepsThree(), averaging=TailAverage(0.5))
    history = records(1.0, 2.0, 4.0, 100.0)
    assert method.outcome(history)["cell"][0, 0] == 3, "epochs 2 and 3 of three"
    assert method.outcome(history[:1])["cell"][0, 0] == 1
