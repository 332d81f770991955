"""A supernet with a one-hot mixture is the discrete network that shares its weights, in train and in eval mode."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from poise.genotype import Genotype
from poise.spaces import S3, Darts, ImageShape, NasBench201
from poise.spaces.cell_network import CellNetwork
from poise.spaces.nasbench201_network import NasBench201Network
from poise.supernet.groups import one_hot
from textbook.weights import carry_cells, live_nodes, randomise

TASK = ImageShape(3, (7, 9), 4)

REGULAR = {
    "normal": {
        "0->2": ["sep_conv_3x3"], "1->2": ["skip_connect"], "1->3": ["dil_conv_5x5"], "2->3": ["avg_pool_3x3"],
        "0->4": ["max_pool_3x3"], "3->4": ["dil_conv_3x3"], "2->5": ["sep_conv_5x5"], "4->5": ["skip_connect"],
    },
    "reduce": {
        "0->2": ["skip_connect"], "1->2": ["max_pool_3x3"], "0->3": ["sep_conv_5x5"], "2->3": ["skip_connect"],
        "1->4": ["avg_pool_3x3"], "3->4": ["sep_conv_3x3"], "0->5": ["dil_conv_3x3"], "4->5": ["dil_conv_5x5"],
    },
}  # fmt: skip

IRREGULAR = {  # node 2: one input; 3: none; 4: three; 5: two operations on one edge
    "normal": {
        "1->2": ["sep_conv_3x3"],
        "0->4": ["skip_connect"], "1->4": ["max_pool_3x3"], "2->4": ["dil_conv_3x3"],
        "0->5": ["sep_conv_5x5", "avg_pool_3x3"],
    },
    "reduce": {"0->3": ["skip_connect", "dil_conv_5x5"], "1->5": ["sep_conv_3x3"], "3->5": ["skip_connect"]},
}  # fmt: skip

DEAD_SOURCE = {  # node 2 is isolated and node 4 reads it, 5 reads it beside something alive
    "normal": {"0->3": ["sep_conv_3x3"], "2->4": ["dil_conv_3x3"], "2->5": ["max_pool_3x3"], "3->5": ["skip_connect"]},
    "reduce": {"1->3": ["skip_connect"], "2->3": ["sep_conv_3x3"], "4->5": ["skip_connect"]},
}


def genotype(rows: dict[str, dict[str, list[str]]]) -> Genotype:
    return Genotype("darts", {kind: {row: tuple(names) for row, names in kept.items()} for kind, kept in rows.items()})


def mixture_of(
    supernet: nn.Module, rows: dict[str, dict[str, list[str]]], alive_only: bool = False
) -> dict[str, Tensor]:
    """1 where the rows keep a candidate, built from names; rows whose source nothing reaches can be left out."""
    mixture = {}
    for group in supernet.groups:
        value = torch.zeros(group.layers, *group.shape, dtype=torch.float64)
        sources = {0, 1, *live_nodes(rows[group.name])} if alive_only else set(range(6))
        for index, row in enumerate(group.rows):
            for column, name in enumerate(row.candidates):
                if name in rows[group.name].get(row.name, []) and int(row.name[0]) in sources:
                    value[:, index, column] = 1
        mixture[group.name] = value
    return mixture


def pair(rows: dict[str, dict[str, list[str]]], cells: int, channels: int = 4) -> tuple[nn.Module, CellNetwork]:
    supernet = randomise(Darts(channels, cells).supernet(TASK))
    network = CellNetwork(rows, TASK.channels, TASK.outputs, channels, cells, search=True).double()
    carry_cells(supernet, network, rows, cells)
    return supernet, network


@pytest.mark.parametrize("cells", [3, 4, 6])
@pytest.mark.parametrize("rows", [REGULAR, IRREGULAR, DEAD_SOURCE], ids=["regular", "irregular", "dead source"])
def test_cells(rows: dict[str, dict[str, list[str]]], cells: int) -> None:
    Darts().check(genotype(rows))
    supernet, network = pair(rows, cells)
    torch.manual_seed(3)
    images = torch.randn(3, 3, 7, 9, dtype=torch.float64)
    one = mixture_of(supernet, rows)
    expected = supernet.train()(images, one)
    assert expected.std() > 0.01
    torch.testing.assert_close(network.train()(images), expected, rtol=1e-10, atol=1e-10)

    supernet, network = pair(rows, cells)  # the pass above moved the running statistics
    alive = mixture_of(supernet, rows, alive_only=True)
    expected = supernet.eval()(images, alive)
    torch.testing.assert_close(network.eval()(images), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(network.heads(images)[0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rows", [REGULAR, IRREGULAR], ids=["regular", "irregular"])
def test_running_statistics_move_alike(rows: dict[str, dict[str, list[str]]]) -> None:
    supernet, network = pair(rows, 4)
    images = torch.randn(3, 3, 7, 9, dtype=torch.float64)
    supernet(images, mixture_of(supernet, rows))
    network(images)
    moved = supernet.state_dict()
    compared = 0
    for name, value in network.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(value, moved[name], rtol=1e-10, atol=1e-10)
            compared += 1
    assert compared > 20


def test_one_hot_is_the_mixture_of_a_choice() -> None:
    space = Darts(2, 4)
    kept = {
        group.name: tuple(
            tuple(row.candidates.index(name) for name in IRREGULAR[group.name].get(row.name, [])) for row in group.rows
        )
        for group in space.groups
    }
    supernet = space.supernet(TASK)
    expected = mixture_of(supernet, IRREGULAR)
    for name, value in one_hot(kept, space.groups, like=torch.zeros((), dtype=torch.float64)).items():
        assert torch.equal(value, expected[name])
    assert one_hot(kept, space.groups)["normal"].dtype == torch.float32


def test_another_candidate_set() -> None:
    """S3's supernet orders three candidates; names, not columns, decide."""
    rows = {
        "normal": {"0->2": ["sep_conv_3x3"], "2->3": ["skip_connect"], "1->5": ["sep_conv_3x3"]},
        "reduce": {"0->2": ["skip_connect"], "1->3": ["sep_conv_3x3"]},
    }
    supernet = randomise(S3(2, 4).supernet(TASK))
    network = CellNetwork(rows, 3, 4, 2, 4, search=True).double()
    carry_cells(supernet, network, rows, 4)
    images = torch.randn(3, 3, 7, 9, dtype=torch.float64)
    torch.testing.assert_close(network(images), supernet(images, mixture_of(supernet, rows)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|",
        "|none~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|skip_connect~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    ],
    ids=["full", "dead node", "all none"],
)
def test_nasbench201(text: str, training: bool) -> None:
    space = NasBench201(4, 2)
    kept = Genotype.parse(text)
    rows = {row: list(names) for row, names in kept.choices["cell"].items()}
    supernet = randomise(space.supernet(TASK)).train(training)
    network = NasBench201Network(rows, 3, 4, 4, 2, search=True).double().train(training)
    given = supernet.state_dict()
    network.load_state_dict({name: given[name] for name in network.state_dict()})
    mixture = torch.zeros(6, 6, 5, dtype=torch.float64)
    for entry, (source, target) in zip(
        [entry for node in text.split("+") for entry in node.strip("|").split("|")],
        [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)],
        strict=True,
    ):
        names = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
        row = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)].index((source, target))
        mixture[:, row, names.index(entry.split("~")[0])] = 1
    images = torch.randn(3, 3, 7, 9, dtype=torch.float64)
    torch.testing.assert_close(network(images), supernet(images, {"cell": mixture}), rtol=1e-10, atol=1e-10)
