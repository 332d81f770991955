"""Discrete networks: published parameter counts, drop-path, auxiliary head, odd sizes."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces import Darts, ImageShape, NasBench201
from poise.spaces.cell_network import AuxiliaryHead, CellNetwork
from poise.spaces.operations import OPERATIONS, FactorizedReduce, Noise
from poise.spaces.space import has_heads
from poise.supernet.draws import Draws

CIFAR10 = ImageShape(3, (32, 32), 10)
TABLE = Path(__file__).parents[3] / "shared/data/nasbench201/table.csv.gz"

DARTS_V2 = """Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],
reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),
('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"""

PC_DARTS = """PC_DARTS_cifar = Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0),
('dil_conv_3x3', 1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_3x3', 1)],
normal_concat=range(2, 6), reduce=[('sep_conv_5x5', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_5x5', 2),
('sep_conv_3x3', 0), ('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 2)], reduce_concat=range(2, 6))"""

FAIR_A = """Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_5x5', 2, 1), ('max_pool_3x3', 4, 0),
('sep_conv_3x3', 5, 0)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 2, 0), ('avg_pool_3x3', 2, 1),
('avg_pool_3x3', 3, 0), ('dil_conv_5x5', 3, 1), ('avg_pool_3x3', 4, 0), ('sep_conv_5x5', 4, 1), ('skip_connect', 5, 0),
('skip_connect', 5, 1)], reduce_concat=range(2, 6))"""

FAIR_B = """Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_3x3', 2, 1), ('sep_conv_3x3', 3, 1),
('dil_conv_3x3', 4, 0), ('sep_conv_5x5', 4, 1), ('dil_conv_5x5', 5, 1)], normal_concat=range(2, 6),
reduce=[('skip_connect', 2, 0), ('dil_conv_3x3', 2, 1), ('skip_connect', 3, 0), ('dil_conv_3x3', 3, 1),
('max_pool_3x3', 4, 0), ('sep_conv_3x3', 4, 1), ('skip_connect', 5, 2), ('max_pool_3x3', 5, 0)],
reduce_concat=range(2, 6))"""


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def build(text: str, auxiliary: bool = False) -> CellNetwork:
    with torch.device("meta"):
        return Darts().network(Genotype.parse(text), CIFAR10, auxiliary=auxiliary)


@pytest.mark.parametrize(
    ("text", "auxiliary", "count"),
    [
        (DARTS_V2, False, 3_349_342),
        (PC_DARTS, False, 3_634_678),
        (FAIR_A, False, 2_360_782),
        (FAIR_A, True, 2_837_208),
        (FAIR_B, True, 3_884_304),
    ],
    ids=["DARTS_V2", "PC-DARTS", "Fair a", "Fair a with head", "Fair b with head"],
)
def test_published_parameter_counts(text: str, auxiliary: bool, count: int) -> None:
    """At the published size, 36 channels and 20 cells, which is the default."""
    assert parameters(build(text, auxiliary)) == count


@pytest.mark.parametrize("text", [DARTS_V2, PC_DARTS, FAIR_A, FAIR_B])
def test_describe_is_the_papers_text(text: str) -> None:
    space = Darts()
    genotype = Genotype.parse(text)
    space.check(genotype)
    assert Genotype.parse(space.describe(genotype)) == genotype
    entries = [re.findall(r"\('\w+', [\d, ]+\)", written) for written in (text, space.describe(genotype))]
    assert len(entries[0]) >= 12
    assert sorted(entries[0]) == sorted(entries[1])


def table() -> list[dict[str, str]]:
    if not TABLE.exists():
        pytest.skip("the NAS-Bench-201 table is not on this machine")
    with gzip.open(TABLE, "rt") as file:
        return list(csv.DictReader(file))


def test_nasbench201_parameter_counts() -> None:
    rows = table()
    space = NasBench201()
    for row in rows[:: len(rows) // 12]:
        with torch.device("meta"):
            network = space.network(Genotype.parse(row["arch"]), CIFAR10)
        assert parameters(network) / 1e6 == pytest.approx(float(row["c10_params_M"]), abs=6e-7), row["arch"]


def test_nasbench201_strings_of_all_architectures() -> None:
    space = NasBench201()
    seen = set()
    for row in table():
        genotype = Genotype.parse(row["arch"])
        assert space.describe(genotype) == row["arch"]
        seen.add(genotype.to_json())
    assert len(seen) == 15_625
    for row in table()[::500]:
        space.check(Genotype.parse(row["arch"]))


def rows_of(operation: str) -> dict[str, dict[str, list[str]]]:
    cell = {"0->2": [operation], "1->2": ["skip_connect"]}
    return {"normal": cell, "reduce": cell}


def kept_paths(paths: int, batch: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A different number for each path of each image, some of them zeros."""
    numbers = torch.arange(1.0, 1 + paths * batch, dtype=dtype).view(paths, batch, 1, 1, 1)
    return numbers * (numbers % 3 != 0)


def test_drop_path_multiplies_all_terms_but_identities() -> None:
    """Each by a number of its own for each image."""
    rows = {"0->2": ["sep_conv_3x3"], "1->2": ["skip_connect"], "0->3": ["max_pool_3x3"], "2->3": ["dil_conv_3x3"]}
    cell = CellNetwork({"normal": rows, "reduce": rows}, 3, 4, 4, 3).double().eval().cells[0]
    images = torch.randn(2, 5, 12, 4, 4, dtype=torch.float64)
    assert cell.paths == 3
    kept = kept_paths(3, 5)
    with torch.no_grad():
        first, second = cell.first(images[0]), cell.second(images[1])
        two = kept[0] * cell.edges["0->2"]["sep_conv_3x3"](first) + second
        three = kept[1] * cell.edges["0->3"]["max_pool_3x3"](first) + kept[2] * cell.edges["2->3"]["dil_conv_3x3"](two)
        torch.testing.assert_close(cell(*images, kept), torch.cat([two, three], dim=1), rtol=1e-12, atol=1e-12)


def test_drop_path_drops_strided_skips() -> None:
    """A skip of stride 2 is a convolution, no identity."""
    cell = CellNetwork({k: {"0->2": ["skip_connect"]} for k in ("normal", "reduce")}, 3, 4, 4, 3).eval().cells[1]
    with torch.no_grad():
        out = cell(torch.randn(2, 12, 4, 4), torch.randn(2, 4, 4, 4), torch.tensor([0.0, 2.0]).view(1, 2, 1, 1, 1))
    assert [bool(each.any()) for each in out] == [False, True]


def test_every_cell_gets_its_part() -> None:
    """A zero for all images on one path is what leaving that operation out is."""
    network = CellNetwork(rows_of("sep_conv_3x3"), 3, 4, 4, 3).double().eval()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert network.paths == 1 + 2 + 2, "the skips of the reduction cells have a stride"
    for path, (cell, row) in enumerate([(0, "0->2"), (1, "0->2"), (1, "1->2"), (2, "0->2"), (2, "1->2")]):
        kept = torch.ones(5, 2, 1, 1, 1, dtype=torch.float64)
        kept[path] = 0
        (operation,) = network.cells[cell].edges[row].children()
        handle = operation.register_forward_hook(lambda module, given, found: torch.zeros_like(found))
        expected = network(images)
        handle.remove()
        torch.testing.assert_close(network.heads(images, kept)[0], expected, rtol=1e-12, atol=1e-12)
        assert not torch.allclose(network(images), expected)


def test_forward_has_no_drop_path_and_no_side_head() -> None:
    network = CellNetwork(rows_of("sep_conv_3x3"), 3, 4, 4, 3, auxiliary=True).eval()
    images = torch.randn(8, 3, 8, 8)
    logits = network(images)
    assert torch.equal(logits, network(images))
    assert torch.equal(logits, network.heads(images)[0])
    assert not torch.allclose(logits, network.heads(images, kept_paths(network.paths, 8, images.dtype))[0])
    side = network.heads(images)[1]
    assert side is not None
    assert side.shape == (8, 4)
    assert CellNetwork(rows_of("sep_conv_3x3"), 3, 4, 4, 3).heads(images)[1] is None


def test_the_auxiliary_head_reads_the_second_reduction() -> None:
    network = CellNetwork(rows_of("sep_conv_3x3"), 3, 4, 4, 7, auxiliary=True).eval()
    found: list[torch.Tensor] = []
    network.cells[4].register_forward_hook(lambda module, arguments, output: found.append(output))
    images = torch.randn(2, 3, 16, 16)
    side = network.heads(images)[1]
    assert network.auxiliary is not None
    assert torch.equal(side, network.auxiliary(found[0]))


def test_auxiliary_head_pools_as_published() -> None:
    """8×8 -> 2×2 by 5×5 windows of stride 3, after a ReLU; other sizes adaptively."""
    head = AuxiliaryHead(3, 4).eval()
    x = torch.randn(2, 3, 8, 8)
    relu = x.clamp(min=0)
    pooled = torch.stack(
        [torch.stack([relu[:, :, i : i + 5, j : j + 5].mean(dim=(2, 3)) for j in (0, 3)], dim=2) for i in (0, 3)], dim=2
    )
    expected = head.classifier(head.features(pooled).flatten(1))
    torch.testing.assert_close(head(x), expected)
    assert head(torch.randn(2, 3, 3, 5)).shape == (2, 4)


def test_nasbench201_has_neither() -> None:
    space = NasBench201()
    genotype = Genotype.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    with pytest.raises(Refused, match="no auxiliary head"):
        space.network(genotype, CIFAR10, auxiliary=True)
    assert not has_heads(space.network(genotype, CIFAR10, channels=2, cells=1))


@pytest.mark.parametrize("size", [(7, 9), (8, 5), (1, 1), (2, 3)])
def test_factorized_reduce_pixel_by_pixel(size: tuple[int, int]) -> None:
    """Output (i, j): half of the channels see pixel (2i, 2j), the others (2i+1, 2j+1), 0 beyond the image."""
    module = FactorizedReduce(3, 5, affine=False).double().eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    y = module(x)
    height, width = -(-size[0] // 2), -(-size[1] // 2)
    assert y.shape == (2, 5, height, width)
    scale = (1 + 1e-5) ** 0.5
    for i in range(height):
        for j in range(width):
            even = module.even.weight[:, :, 0, 0] @ x[:, :, 2 * i, 2 * j].clamp(min=0).T
            inside = 2 * i + 1 < size[0] and 2 * j + 1 < size[1]
            odd = torch.zeros(3, 2, dtype=torch.float64)
            if inside:
                odd = module.odd.weight[:, :, 0, 0] @ x[:, :, 2 * i + 1, 2 * j + 1].clamp(min=0).T
            torch.testing.assert_close(y[:, :, i, j], torch.cat([even, odd]).T / scale)


@pytest.mark.parametrize("stride", [1, 2])
def test_noise_is_standard_normal_and_new_every_time(stride: int) -> None:
    x = torch.full((8, 6, 31, 33), 7.0, dtype=torch.float64)
    noise = OPERATIONS["noise"](6, stride, True)
    assert isinstance(noise, Noise)
    torch.manual_seed(0)
    first, second = noise(x), noise(x)
    assert first.shape == x[:, :, ::stride, ::stride].shape
    assert first.dtype == x.dtype
    count = first.numel()
    assert float(first.mean()) == pytest.approx(0, abs=4 / count**0.5)
    assert float(first.var()) == pytest.approx(1, abs=4 * (2 / count) ** 0.5)
    assert float((first.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=0.01)
    assert abs(float((first * second).mean())) < 5 / count**0.5
    torch.manual_seed(0)
    assert torch.equal(first, noise(x))


def test_noise_is_drawn_from_what_is_handed_in() -> None:
    """A network with noise says so; its noise is the draws', whatever torch's own generators are at."""
    network = CellNetwork(rows_of("noise"), 3, 4, 4, 3).eval()
    assert (network.takes_draws, network.draws_nothing) == (True, False)
    assert not CellNetwork(rows_of("sep_conv_3x3"), 3, 4, 4, 3).takes_draws
    images, draws = torch.randn(2, 3, 8, 8), Draws(0, torch.device("cpu"))
    first = network.heads(images, draws=draws)[0]
    assert torch.equal(first, network.heads(images, draws=draws.again())[0])
    assert not torch.equal(first, network.heads(images, draws=draws.refill(1))[0])


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_form_to_retrain_has_affine_norms_and_bare_pools(name: str) -> None:
    searching, retrained = OPERATIONS[name](4, 2, True), OPERATIONS[name](4, 2, False)
    assert not any(norm.affine for norm in searching.modules() if isinstance(norm, nn.BatchNorm2d))
    norms = [norm for norm in retrained.modules() if isinstance(norm, nn.BatchNorm2d)]
    assert all(norm.affine for norm in norms)
    if "pool" in name:
        assert not norms
        assert sum(isinstance(norm, nn.BatchNorm2d) for norm in searching.modules()) == 1


@pytest.mark.parametrize(
    ("text", "leads"),
    [
        ("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|", True),
        ("|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|avg_pool_3x3~2|", True),
        ("|none~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|none~0|nor_conv_3x3~1|none~2|", False),
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|none~0|none~1|none~2|", False),
        ("|none~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|", False),
    ],
)
def test_a_bench_cell_that_no_path_leads_through_is_doubted(text: str, leads: bool) -> None:
    """And it is one whose network's answer is the same whatever the image."""
    genotype = Genotype.parse(text)
    doubt = NasBench201().doubt(genotype)
    assert (doubt is None) == leads
    assert leads or "without=[none]" in str(doubt)
    torch.manual_seed(0)
    network = NasBench201().network(genotype, ImageShape(3, (8, 8), 4), channels=4, cells=1).double()
    cell = next(part for part in network.cells if type(part).__name__ != "ResidualReduction")
    images = torch.randn(2, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((cell(images) ** 2).sum() + 0 * images.sum(), images)
    assert bool(gradient.abs().max() > 1e-9) == leads
