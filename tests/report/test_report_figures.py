"""Figures show exactly what they are given."""

import pytest
import torch

from poise.errors import Refused
from poise.genotype import Genotype
from poise.report.cell import cell_figure
from poise.report.curves import curves_figure, flatten
from poise.report.graph import cell_graph
from poise.report.mixture import mixture_figure
from poise.report.style import save_figure
from poise.spaces.space import SPACES
from poise.supernet.groups import ChoiceGroup, Row

FAIR = Genotype(
    "darts",
    {
        "normal": {"0->2": ("sep_conv_3x3", "skip_connect"), "2->4": ("dil_conv_3x3",), "3->5": ("max_pool_3x3",)},
        "reduce": {"0->2": ("max_pool_3x3",), "1->3": ("skip_connect", "sep_conv_5x5"), "2->3": ("avg_pool_3x3",)},
    },
)
BENCH = Genotype.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|", "nasbench201")
CHOICES = (
    ChoiceGroup("first", 2, (Row("choice", ("relu", "gelu", "tanh")),), min_kept=1, max_kept=1),
    ChoiceGroup("second", 1, (Row("choice", ("conv", "identity")),), min_kept=1, max_kept=1),
)


SHOT = Genotype.parse(
    "010110001101000010000001000001000000 input,conv3x3-bn-relu,maxpool3x3,conv1x1-bn-relu,conv3x3-bn-relu,output"
)


def labels(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def overlapping(figure):
    """Pairs of texts whose boxes meet, per axes."""
    found = []
    for axes in figure.axes:
        boxes = [(text.get_text(), text.get_window_extent()) for text in axes.texts if text.get_text()]
        found += [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[i + 1 :] if x.overlaps(y)]
    return found


@pytest.mark.parametrize("genotype", [FAIR, BENCH], ids=["fair", "nasbench201"])
def test_every_operation_is_drawn_once(genotype, tmp_path):
    figure = cell_figure(genotype, SPACES[genotype.space]().groups)
    expected = sorted(name for rows in genotype.choices.values() for names in rows.values() for name in names)
    operations = {"sep", "dil", "nor", "max", "avg", "skip"}
    assert sorted(text for text in labels(figure) if text.split("_")[0] in operations) == expected
    svg = save_figure(figure, tmp_path, "cells")[0].read_text()
    assert all(svg.count(f">{name}<") == expected.count(name) for name in expected)


def test_no_two_labels_meet():
    rows = {row.name: row.candidates[1:] for row in SPACES["darts"]().groups[0].rows}
    everything = Genotype("darts", {"normal": rows, "reduce": {"0->2": ("skip_connect",)}})
    for genotype in (everything, FAIR, BENCH):
        assert overlapping(cell_figure(genotype, SPACES[genotype.space]().groups)) == []


def test_labels_stay_within_the_figure():
    for genotype, groups in ((FAIR, SPACES["darts"]().groups), (BENCH, SPACES["nasbench201"]().groups)):
        figure = cell_figure(genotype, groups)
        outer = figure.bbox
        for axes in figure.axes:
            for text in axes.texts:
                box = text.get_window_extent()
                assert outer.x0 <= box.x0 < box.x1 <= outer.x1, text
                assert outer.y0 <= box.y0 < box.y1 <= outer.y1, text


def test_graph_knows_what_is_dead():
    normal, reduce = (cell_graph(FAIR, group) for group in SPACES["darts"]().groups)
    assert {node for node, live in normal.nodes(data="live") if live} == {0, 1, 2, 4}
    assert sorted(normal.edges(data="live")) == [(0, 2, True), (0, 2, True), (2, 4, True), (3, 5, False)]
    assert {node for node, live in reduce.nodes(data="live") if live} == {0, 1, 2, 3}
    bench = cell_graph(BENCH, SPACES["nasbench201"]().groups[0])
    assert dict(bench.nodes(data="kind")) == {0: "input", 1: "node", 2: "node", 3: "output"}
    assert bench.number_of_edges() == 4


def test_choices_show_every_candidate_and_mark_the_chosen():
    figure = cell_figure(Genotype("custom", {"first": {"choice": ("gelu",)}, "second": {"choice": ("conv",)}}), CHOICES)
    assert set(labels(figure)) == {"choices", "first", "second", "relu", "gelu", "tanh", "conv", "identity"}
    inks = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert inks["gelu"] == inks["conv"] != inks["relu"] == inks["tanh"] == inks["identity"]
    assert overlapping(figure) == []


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    groups = SPACES["darts"]().groups
    first, second = (save_figure(cell_figure(FAIR, groups), tmp_path / name, "cells") for name in ("a", "b"))
    assert [file.name for file in first] == ["cells.svg", "cells.png"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    assert b"<dc:date>" not in first[0].read_bytes()


@pytest.mark.parametrize(
    "groups", [SPACES["darts"]().groups, SPACES["s1"]().groups, CHOICES], ids=["darts", "s1", "own"]
)
def test_heat_maps_hold_the_probabilities(groups):
    torch.manual_seed(0)
    probabilities = {group.name: torch.softmax(torch.randn(group.shape), -1).requires_grad_() for group in groups}
    figure = mixture_figure(probabilities, groups)
    for group, axes in zip(groups, figure.axes, strict=True):
        shown = torch.from_numpy(axes.images[0].get_array().data)
        assert torch.equal(shown.float(), probabilities[group.name].detach())
        assert axes.images[0].get_clim() == (0, 1)
        assert [label.get_text() for label in axes.get_yticklabels()] == [row.name for row in group.rows]
        names = {label.get_text() for label in axes.get_xticklabels()} | {t.get_text()[:-5] for t in axes.texts}
        assert names >= {name for row in group.rows for name in row.candidates}
    with pytest.raises(Refused, match="shape"):
        mixture_figure({groups[0].name: torch.ones(1, 1)}, groups)


def record(epoch):
    return {
        "epoch": epoch,
        "train_loss": 2.0 - epoch,
        "search_accuracy": None if epoch == 0 else 0.5,
        "mixture": {"normal": {"max": 0.2, "entropy": 2.0}, "reduce": {"max": 0.2, "entropy": 1.0 + epoch}},
        "alignment": {"train": 0.25, "search": None},
        "skip_share": float("nan"),
        "penalty": 0.0,
    }


def test_curves_show_what_the_records_hold_and_nothing_else():
    figure = curves_figure([record(epoch) for epoch in range(3)])
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["loss", "accuracy (%)", "layer alignment", "mixture entropy (nats)"]
    assert panels["accuracy (%)"].lines[0].get_xydata().tolist() == [[2, 50], [3, 50]], "from epoch 1, in percent"
    assert panels["loss"].lines[0].get_xydata().tolist() == [[1, 2.0], [2, 1.0], [3, 0.0]]
    entropy = {line.get_label(): line.get_ydata() for line in panels["mixture entropy (nats)"].lines}
    assert {name: list(values) for name, values in entropy.items()} == {"normal": [2, 2, 2], "reduce": [1, 2, 3]}
    with pytest.raises(Refused):
        curves_figure([{"epoch": 1}])


def test_flatten_keeps_finite_numbers():
    flat = flatten({"a": 1, "b": {"c": {"d": 2.5}, "e": None}, "f": "text", "g": float("inf"), "h": True})
    assert flat == {"a": 1.0, "b/c/d": 2.5}


def test_blocks_and_their_inputs_are_drawn_as_choices(tmp_path):
    groups = SPACES[SHOT.space]().groups
    figure = cell_figure(SHOT, groups)
    names = ["choices", *(f"operations {block}" for block in range(1, 5)), "input.2", "input.3", "input.4", "output"]
    candidates = [name for group in groups for row in group.rows for name in row.candidates]
    assert sorted(labels(figure)) == sorted([*names, *candidates])
    assert overlapping(figure) == []
    strong = {(text.get_text(), text.get_color()) for axes in figure.axes for text in axes.texts}
    assert len(strong) > len(set(labels(figure))), "what is kept has another colour"
    save_figure(mixture_figure({group.name: torch.rand(group.shape) for group in groups}, groups), tmp_path, "mixture")


def test_a_recurrent_cell_joins_all_its_nodes() -> None:
    (group,) = SPACES["recurrent"]().groups  # type: ignore[call-arg]
    rows = {row.name: ("tanh",) for row in group.rows if row.name.startswith("0->")}
    graph = cell_graph(Genotype("recurrent", {"recurrent": rows}), group)
    assert graph.graph["joined"] == "mean"
    assert {kind for _, kind in graph.nodes(data="kind")} == {"input", "node"}
    (nasbench,) = SPACES["nasbench201"]().groups
    assert cell_graph(Genotype("nasbench201", {"cell": {}}), nasbench).graph["joined"] is None
