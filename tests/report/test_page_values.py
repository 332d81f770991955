"""What pages are made of: axes, charts, pictures of cells and moments of a search, by hand."""

from __future__ import annotations

import re

import pytest
import torch

from poise.genotype import Genotype
from poise.report.axis import axis, epochs_axis, label
from poise.report.charts import charts, numbers_grid
from poise.report.curves import Panel, curves_figure, panels_of
from poise.report.pictures import chips, picture
from poise.report.timeline import Moment, Timeline, chosen_moments
from poise.spaces.space import SPACES, kept_of
from poise.supernet.groups import ChoiceGroup, Row


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0, 1], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([1.38627, 1.38629], ["1.380", "1.382", "1.384", "1.386", "1.388", "1.390", "1.392", "1.394"]),
        ([-3, 12], ["−5", "0", "5", "10", "15"]),
        ([0.0], ["−0.6", "−0.4", "−0.2", "0.0", "0.2", "0.4", "0.6"]),
        ([1e-5, 3e-5], ["0.000010", "0.000015", "0.000020", "0.000025", "0.000030"]),
        ([2e9, 3e9], ["2e+09", "2.2e+09", "2.4e+09", "2.6e+09", "2.8e+09", "3e+09"]),
    ],
)
def test_ticks_are_round_and_can_be_read_by_themselves(values: list[float], ticks: list[str]) -> None:
    found = axis(values)
    assert len(set(found.labels)) == len(found.labels)
    if values[0] != 1.38627 and values != [0.0]:
        assert list(found.labels) == ticks
    assert found.low <= min(values)
    assert max(values) <= found.high
    assert not any("+1" in text for text in found.labels), "no offset"
    assert found.place(found.low) == 0
    assert found.place(found.high) == 1


def test_what_hardly_moves_is_drawn_as_standing_still() -> None:
    found = axis([1.38627, 1.38629])
    assert abs(found.place(1.38627) - found.place(1.38629)) < 0.01
    moving = axis([1.30, 1.38])
    assert moving.place(1.38) - moving.place(1.30) > 0.6


def test_a_figure_has_no_offset_either(tmp_path: object) -> None:
    history = [{"epoch": e, "mixture": {"cell": {"entropy": 1.386294 - e * 1e-6}}} for e in range(3)]
    (axes,) = curves_figure(history).axes
    texts = [text.get_text() for text in axes.get_yticklabels()]
    assert "1.386" in texts or "1.385" in texts
    assert axes.yaxis.get_offset_text().get_text() == ""


def test_epochs_are_whole() -> None:
    assert epochs_axis(1, 50).labels == ("1", "10", "20", "30", "40", "50")
    assert epochs_axis(1, 3).labels == ("1", "2", "3")
    assert epochs_axis(1, 1).labels == ("1",)
    assert label(-0.0, 0.5) == "0.0"


def test_a_chart_lies_where_its_numbers_are() -> None:
    panel = Panel("loss", {"train": [(1, 2.0), (2, 1.0), (3, 0.0)], "search": [(3, 1.0)]})
    (chart,) = charts([panel])
    train, search = chart.data["series"]
    assert chart.data["epochs"] == [1, 2, 3]
    assert chart.data["x"][0] == pytest.approx(chart.left, abs=0.1)
    assert chart.data["x"][2] == chart.right
    assert train["y"] == [chart.top, (chart.top + chart.bottom) / 2, chart.bottom], "the largest is at the top"
    assert search["y"] == [None, None, train["y"][1]]
    assert train["text"] == ["2", "1", "0"]
    assert chart.series[0].path == "M" + "L".join(f"{x} {y}" for x, y in zip(chart.data["x"], train["y"], strict=True))
    assert chart.about == "loss. train: 2 after epoch 1 to 0 after epoch 3; search: 1 after epoch 3."
    assert numbers_grid([panel]) == (
        ["epoch", "loss, train", "loss, search"], [["1", "2", "–"], ["2", "1", "–"], ["3", "0", "1"]],
    )  # fmt: skip
    (share,) = charts([Panel("accuracy (%)", {"train": [(1, 50.0)]})])
    assert share.data["series"][0]["text"] == ["50.00%"]


def test_charts_beside_each_other_have_the_same_epochs() -> None:
    short, long = charts([Panel("a", {"a": [(2, 1.0)]}), Panel("b", {"b": [(1, 1.0), (9, 2.0)]})])
    assert [tick.label for tick in short.across] == [tick.label for tick in long.across]


CELL = Genotype.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|", "nasbench201")
(GROUP,) = SPACES["nasbench201"]().groups


def test_a_picture_shows_every_operation_between_its_nodes() -> None:
    found = picture(CELL, GROUP)
    assert sorted(pill.text for pill in found.pills) == ["avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3", "skip_connect"]
    assert {pill.text: pill.family for pill in found.pills}["skip_connect"] == "skip"
    assert [node.kind for node in found.nodes] == ["input", "node", "node", "output"]
    places = {node.text: (node.x, node.y) for node in found.nodes}
    for line in found.lines:
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", line.path)]
        start, end = tuple(numbers[:2]), tuple(numbers[-2:])
        assert start in [pytest.approx(place, abs=0.2) for place in places.values()]
        away = {each: (x - end[0]) ** 2 + (y - end[1]) ** 2 for each, (x, y) in places.items()}
        (target,) = [each for each, square in away.items() if abs(square - found.radius**2) < 3]
        assert target != "0", "a line ends at the circle of a node"
    assert all(pill.x - pill.width / 2 >= 0 and pill.x + pill.width / 2 <= found.width for pill in found.pills)
    assert all(node.y - found.radius >= 0 and node.y + found.radius <= found.height for node in found.nodes)
    assert found.about == (
        "cell: node 1 takes nor_conv_3x3 of 0; node 2 takes skip_connect of 1; the output takes avg_pool_3x3 of 0, "
        "nor_conv_1x1 of 2."
    )


def test_what_no_input_reaches_is_dead() -> None:
    dead = Genotype("nasbench201", {"cell": {"0->3": ("nor_conv_1x1",), "1->3": ("nor_conv_3x3",)}})
    found = picture(dead, GROUP)
    assert {pill.text: pill.family for pill in found.pills} == {"nor_conv_1x1": "conv", "nor_conv_3x3": "dead"}
    assert [node.live for node in found.nodes] == [True, False, False, True]


def test_choices_say_what_is_kept() -> None:
    group = ChoiceGroup("first", 1, (Row("choice", ("relu", "tanh")),), min_kept=1, max_kept=1)
    assert chips(Genotype("custom", {"first": {"choice": ("tanh",)}}), [group]) == [
        ("first", [("relu", False), ("tanh", True)])
    ]


def test_a_timeline_draws_every_cell_once_and_ends_with_the_last_moment() -> None:
    none = Genotype("nasbench201", {"cell": {}})
    mixture = {"cell": torch.full((6, 5), 0.2)}
    mixture["cell"][0, 0] = 0.996
    genotypes = (none, CELL, none, CELL)
    moments = [Moment(str(n), mixture, each, kept_of(each, [GROUP])) for n, each in enumerate(genotypes)]
    found = Timeline([GROUP], moments)
    drawn, told = found.drawn
    assert len(drawn) == 2
    assert [each["cells"] for each in told] == [[0], [1], [0], [1]]
    assert told[0]["mixture"][0][:2] == [100, 20]
    assert told[0]["kept"] == [[]]
    assert told[1]["kept"] == [[row * 5 + index for row, kept in enumerate(moments[1].kept["cell"]) for index in kept]]
    (table,) = found.tables
    assert [cell.kept for cell in table.rows[0][1]] == [name == "nor_conv_3x3" for name in GROUP.rows[0].candidates]
    assert found.cells[0].pills == drawn[1].pills


def test_of_many_moments_some_are_shown_the_first_and_the_last_among_them() -> None:
    assert chosen_moments(3) == [0, 1, 2]
    found = chosen_moments(1000, 60)
    assert (len(found), found[0], found[-1]) == (60, 0, 999)
    assert len(set(found)) == 60


def test_panels_of_nothing_are_none() -> None:
    assert panels_of([{"epoch": 0}]) == []
