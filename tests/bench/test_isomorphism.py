"""Cells that compute the same: worked by hand, as networks, and counted over the whole space."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.nasbench201 import CANDIDATES, EDGES, NasBench201
from poise.spaces.space import ImageShape
from poise.truth.isomorphism import canonical_form, equivalent
from poise.truth.table import open_table

TABLE = Path(__file__).parents[3] / "shared/data/nasbench201/table.csv.gz"
needs_table = pytest.mark.skipif(not TABLE.exists(), reason="the NAS-Bench-201 table is not on this machine")

SHORT = {"0": "none", "s": "skip_connect", "1": "nor_conv_1x1", "3": "nor_conv_3x3", "p": "avg_pool_3x3"}


def cell(text: str) -> Genotype:
    """Six letters, edge by edge: 0->1, 0->2, 1->2, 0->3, 1->3, 2->3."""
    rows = {f"{a}->{b}": (SHORT[letter],) for (a, b), letter in zip(EDGES, text, strict=True) if letter != "0"}
    return Genotype("nasbench201", {"cell": rows})


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("000000", "0"),
        ("00000s", "0"),
        ("000s00", "x"),
        ("ss0s00", "x"),  # nodes 1 and 2 lead nowhere
        ("s0s00s", "x"),
        ("ssssss", "x + x + x + x"),
        ("30000s", "0"),
        ("3000s0", "nor_conv_3x3(x)"),
        ("000300", "nor_conv_3x3(x)"),
        ("0s0003", "nor_conv_3x3(x)"),
        ("000s03", "x"),  # a convolution of nothing
        ("30s0ss", "nor_conv_3x3#1(x) + nor_conv_3x3#1(x)"),  # the same convolution twice
        ("330s0s", "nor_conv_3x3(x) + x"),  # node 1 leads nowhere
        ("3003s0", "nor_conv_3x3(x) + nor_conv_3x3(x)"),  # two convolutions
        ("p0s0ss", "avg_pool_3x3(x) + avg_pool_3x3(x)"),  # pooling has no weights: once or twice is the same
        ("p00ps0", "avg_pool_3x3(x) + avg_pool_3x3(x)"),
        ("s1s00p", "avg_pool_3x3(nor_conv_1x1(x) + x)"),
    ],
)
def test_forms_by_hand(text: str, form: str) -> None:
    assert canonical_form(cell(text)) == form


def test_of_another_space_or_malformed_is_refused() -> None:
    with pytest.raises(Refused, match="known for space 'nasbench201' only, got 'darts'"):
        canonical_form(Genotype("darts", {"normal": {}, "reduce": {}}))
    with pytest.raises(Refused, match="did you mean 'nor_conv_3x3'"):
        canonical_form(Genotype("nasbench201", {"cell": {"0->1": ("nor_conv_3",)}}))


SAME = [
    # first cell, second cell, edge of the first -> edge of the second that takes over its weights
    ("3000s0", "000300", {"0->1": "0->3"}),
    ("13s00p", "31s00p", {"0->1": "0->2", "0->2": "0->1"}),
    ("30010s", "000100", {"0->3": "0->3"}),  # the convolution 0->1 leads nowhere
    ("1300s3", "31003s", {"0->1": "0->2", "0->2": "0->1", "2->3": "1->3"}),
    ("310ps1", "130p1s", {"0->1": "0->2", "0->2": "0->1", "2->3": "1->3"}),
    ("p300ss", "030p0s", {"0->2": "0->2"}),
]
OTHER = [("3s100s", "s3100s"), ("30s0ss", "03000s"), ("30s3s1", "30s131"), ("s3s00p", "03sp0p")]


def randomised(network: nn.Module, shifts: bool = True) -> nn.Module:
    """Every weight and running statistic drawn at random; without ``shifts`` a convolution of nothing gives nothing."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            if shifts:
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)
    return network.double().eval()


def network_of(text: str, shifts: bool = True) -> nn.Module:
    return randomised(NasBench201().network(cell(text), ImageShape(3, (6, 6), 4), channels=3, cells=1), shifts)


def mapped(target: nn.Module, source: nn.Module, edges: dict[str, str]) -> nn.Module:
    """``target`` with all weights of ``source``, those of a cell moved from edge to edge."""
    state, found = target.state_dict(), source.state_dict()
    for name, value in found.items():
        before, dot, rest = name.partition(".edges.")
        row, _, tail = rest.partition(".")
        name = f"{before}{dot}{edges.get(row, row)}.{tail}" if dot else name
        if name in state:
            state[name] = value
    target.load_state_dict(state)
    return target


def images() -> Tensor:
    return torch.randn(3, 3, 6, 6, dtype=torch.float64)


@pytest.mark.parametrize(("first", "second", "edges"), SAME)
def test_equivalent_cells_are_the_same_function(first: str, second: str, edges: dict[str, str]) -> None:
    torch.manual_seed(0)
    assert equivalent(cell(first), cell(second))
    one = network_of(first)
    two = mapped(network_of(second), one, edges)
    x = images()
    torch.testing.assert_close(two(x), one(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_these_are_not_equivalent(first: str, second: str) -> None:
    assert not equivalent(cell(first), cell(second))


def test_one_convolution_twice_is_not_two_convolutions() -> None:
    """What the paper's count takes for the same: equal only if the two happen to have equal weights."""
    torch.manual_seed(0)
    once, twice = network_of("30s0ss"), network_of("3003s0")
    assert not equivalent(cell("30s0ss"), cell("3003s0"))
    assert sum(p.numel() for p in once.parameters()) < sum(p.numel() for p in twice.parameters())
    x = images()
    mapped(twice, once, {})
    assert not torch.allclose(twice(x), once(x))
    mapped(twice, once, {"0->1": "0->3"})
    torch.testing.assert_close(twice(x), once(x), rtol=1e-10, atol=1e-10)


def test_a_convolution_of_nothing_is_nothing_up_to_its_shift() -> None:
    torch.manual_seed(0)
    for shifts in (False, True):
        one = network_of("000s03", shifts)
        two = mapped(network_of("000s00", shifts), one, {})
        x = images()
        assert torch.allclose(one(x), two(x)) is not shifts
    assert equivalent(cell("000s03"), cell("000s00"))


def released(operations: tuple[str, ...], zero: bool) -> str:
    """The rules behind the paper's counts: nodes as texts, a zero is a term, texts sorted before they are joined.

    As sums are sorted before they are flattened, the counts depend on how the texts sort; so they are written as there.
    """
    nodes = ["0", "", "", ""]
    for target in (1, 2, 3):
        terms = []
        for (source, end), operation in zip(EDGES, operations, strict=True):
            if end == target:
                nothing = zero and (operation == "none" or nodes[source] == "#")
                made = nodes[source] if operation == "skip_connect" else f"({nodes[source]})@{operation}"
                terms.append("#" if nothing else made)
        nodes[target] = "+".join(sorted(terms))
    return nodes[3]


def stepwise(operations: tuple[str, ...], flat: bool) -> str:
    """The same with zeros removed; ``flat``: with sums flattened before they are sorted."""
    nodes: list[list[str]] = [["0"], [], [], []]
    for (source, target), operation in zip(EDGES, operations, strict=True):
        if operation != "none" and nodes[source]:
            inner = sorted(nodes[source]) if flat else ["+".join(sorted(nodes[source]))]
            nodes[target] += inner if operation == "skip_connect" else [f"({'+'.join(inner)})@{operation}"]
    return "+".join(sorted(nodes[3]))


def test_counts_over_the_whole_space() -> None:
    every = list(itertools.product(CANDIDATES, repeat=6))
    assert len(every) == 15_625
    assert len({released(operations, False) for operations in every}) == 12_751
    assert len({released(operations, True) for operations in every}) == 6_466, "the paper's count"
    assert len({stepwise(operations, False) for operations in every}) == 5_390
    assert len({stepwise(operations, True) for operations in every}) == 4_930
    letters = {name: letter for letter, name in SHORT.items()}
    forms: dict[str, set[str]] = defaultdict(set)
    for operations in every:
        forms[canonical_form(cell("".join(letters[name] for name in operations)))].add(stepwise(operations, True))
    assert len(forms) == 5_260
    assert all(len(trees) == 1 for trees in forms.values()), "only shared convolutions tell more apart"


@needs_table
def test_equivalents_of_the_table() -> None:
    table = open_table(TABLE)
    positions = table.equivalents(cell("000300"))
    assert all(canonical_form(table.genotype(p)) == "nor_conv_3x3(x)" for p in positions)
    assert table.position(cell("3000s0")) in positions
    assert len(positions) > 2
    sizes = Counter(len(table.equivalents(table.genotype(p))) for p in range(0, len(table), 25))
    assert sizes[1] > 100
    assert table.equivalents(cell("ssssss")) == (table.position(cell("ssssss")),)


@needs_table
def test_classes_spread_less_than_the_papers() -> None:
    """Standard deviations of CIFAR-100 accuracy within classes, as the docstring states them."""
    table = open_table(TABLE)
    accuracy = table.column("cifar100")

    def spread(keys: list[str]) -> float:
        groups: dict[str, list[float]] = defaultdict(list)
        for key, value in zip(keys, accuracy, strict=True):
            groups[key].append(value)
        several = [np.array(group) for group in groups.values() if len(group) > 1]
        squares = sum(float(((group - group.mean()) ** 2).sum()) for group in several)
        return float(np.sqrt(squares / sum(len(group) - 1 for group in several)))

    def operations(text: str) -> tuple[str, ...]:
        return tuple(entry.split("~")[0] for node in text.split("+") for entry in node.strip("|").split("|"))

    assert spread([released(operations(text), True) for text in table.texts]) == pytest.approx(0.412, abs=0.001)
    assert spread([canonical_form(genotype) for genotype in table]) == pytest.approx(0.367, abs=0.001)
