"""Discretisation, saturation, alignment and skips against hand-made cases."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
from diagnostics_support import cell_searcher, smooth_searcher
from torch.nn import functional as F

from poise.diagnostics.alignment import Alignment
from poise.diagnostics.diagnostic import DIAGNOSTICS, Subject, all_of
from poise.diagnostics.discretisation import Discretisation
from poise.diagnostics.saturation import Saturation
from poise.diagnostics.skips import Skips
from poise.engine.searcher import Searcher
from poise.errors import Refused


def scores(found: Searcher, mixture: dict[str, torch.Tensor]) -> tuple[float, float]:
    """Accuracy and loss of the search half, batch after batch."""
    hits, total, images = 0, 0.0, 0
    for batch, labels in found.searching.ordered():
        logits = found.supernet(batch, mixture)
        hits += int((logits.argmax(dim=1) == labels).sum())
        total += float(F.cross_entropy(logits, labels, reduction="sum"))
        images += len(labels)
    return hits / images, total / images


@pytest.mark.parametrize("kept", [((1,),), None])
def test_discretisation(kept: object) -> None:
    found = smooth_searcher(**{"search.images_per_half": 50})  # the last batch has 10 images
    with torch.no_grad():
        for weight in found.supernet.parameters():
            weight *= 3  # so that the choice matters
    first, second = found.alphas
    relaxed = {name: torch.softmax(alphas.detach(), dim=1)[None] for name, alphas in found.alphas.items()}
    # By magnitude: the alphas fall in the first group and rise in the second.
    chosen = {first: (1 if kept else 0), second: 2}
    discrete = {name: F.one_hot(torch.tensor([chosen[name]]), p.shape[2]).double()[None] for name, p in relaxed.items()}
    numbers = Discretisation()(Subject(found, {first: kept, second: ((2,),)} if kept else None)).numbers  # type: ignore[dict-item]
    soft, hard = scores(found, relaxed), scores(found, discrete)
    assert soft[0] != hard[0]
    assert numbers["discretisation/accuracy"] == pytest.approx(soft[0])
    assert numbers["discretisation/accuracy_discrete"] == pytest.approx(hard[0])
    assert numbers["discretisation/drop"] == pytest.approx(soft[0] - hard[0])
    assert numbers["discretisation/loss"] == pytest.approx(soft[1])
    assert numbers["discretisation/loss_discrete"] == pytest.approx(hard[1])
    assert numbers["discretisation/rise"] == pytest.approx(hard[1] - soft[1])


def test_nothing_is_lost_where_the_mixture_is_discrete() -> None:
    found = cell_searcher()
    with torch.no_grad():
        found.alphas["cell"].copy_(1000 * F.one_hot(torch.tensor([1, 2, 3, 4, 1, 2]), 5))
    numbers = Discretisation()(Subject(found)).numbers
    assert numbers["discretisation/rise"] == pytest.approx(0, abs=1e-9)
    assert numbers["discretisation/drop"] == 0
    assert Saturation()(Subject(found)).numbers == {
        "saturation/cell/entropy": 0,
        "saturation/cell/distance": 0,
        "saturation/cell/settled": 1,
    }


def test_saturation_by_hand() -> None:
    found = smooth_searcher()
    first, second = found.alphas
    with torch.no_grad():
        found.alphas[first].copy_(torch.tensor([[0.0, 0.0]]))
        found.alphas[second].copy_(torch.tensor([[0.2, 0.795, 0.005]]).log())
    numbers = Saturation()(Subject(found)).numbers
    assert numbers[f"saturation/{first}/entropy"] == pytest.approx(1)
    assert numbers[f"saturation/{first}/distance"] == pytest.approx(0.5)
    assert numbers[f"saturation/{first}/settled"] == 0
    entropy = -(0.2 * math.log(0.2) + 0.795 * math.log(0.795) + 0.005 * math.log(0.005)) / math.log(3)
    assert numbers[f"saturation/{second}/entropy"] == pytest.approx(entropy)
    assert numbers[f"saturation/{second}/distance"] == pytest.approx((0.2 + 0.205 + 0.005) / 3)
    assert numbers[f"saturation/{second}/settled"] == pytest.approx(1 / 3)


def test_alignment_by_hand() -> None:
    found = cell_searcher()
    numbers = Alignment()(Subject(found)).numbers
    for half, data in (("train", found.training), ("search", found.searching)):
        means = []
        for images, labels in islice(data.ordered(), 2):
            layers = torch.softmax(found.alphas["cell"].detach(), dim=1).repeat(3, 1, 1).requires_grad_()
            loss = F.cross_entropy(found.supernet(images, {"cell": layers}), labels)
            g = torch.autograd.grad(loss, layers)[0].flatten(1)
            pairs = [(0, 1), (0, 2), (1, 2)]
            means.append(sum(float(F.cosine_similarity(g[i], g[j], dim=0)) for i, j in pairs) / 3)
        assert numbers[f"alignment/{half}"] == pytest.approx(sum(means) / len(means), rel=1e-9)
    assert numbers["alignment/train"] != numbers["alignment/search"]
    assert Alignment()(Subject(smooth_searcher())).numbers == {}, "no layers play the same part"


def test_skips_by_hand() -> None:
    found = cell_searcher()
    with torch.no_grad():  # none, skip_connect, ...; none leads the second row, of the others skip_connect
        found.alphas["cell"].zero_()
        found.alphas["cell"][0, 1] = 1
        found.alphas["cell"][1] = torch.tensor([2.0, 1.0, 0, 0, 0])
        found.alphas["cell"][2:, 3] = 1
    kept = ((1,), (), (3,), (3,), (1,), (0,))
    numbers = Skips()(Subject(found, {"cell": kept})).numbers
    assert numbers == {"skips/mixture": pytest.approx(2 / 6), "skips/chosen": pytest.approx(2 / 4)}
    assert set(Skips()(Subject(found)).numbers) == {"skips/mixture"}
    assert Skips()(Subject(smooth_searcher())).numbers == {}


def test_what_is_measured_after_every_epoch() -> None:
    may = [name for name, cls in DIAGNOSTICS.items() if cls.per_epoch]
    assert may == ["discretisation", "eigenvalue", "saturation", "spectrum"]
    numbers = all_of(may)(smooth_searcher())
    assert all(isinstance(value, float) for value in numbers.values())
    with pytest.raises(Refused, match=r"'landscape' is not measured after every epoch .*--only landscape"):
        all_of(["landscape"])


def test_saturation_of_a_sigmoid() -> None:
    """Its rows need not add up to 1: entropy is of their shares."""
    found = smooth_searcher("fair-darts")
    first, _ = found.alphas
    with torch.no_grad():
        found.alphas[first].fill_(math.log(9))  # p = 0.9, twice
    numbers = Saturation()(Subject(found)).numbers
    assert numbers[f"saturation/{first}/entropy"] == pytest.approx(1)
    assert numbers[f"saturation/{first}/distance"] == pytest.approx(0.1)
