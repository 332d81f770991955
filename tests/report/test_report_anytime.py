"""The curves of a bench: an axis on which a tenth near the best and a collapse both show."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from test_report_inside import cell, run_of, standing

from poise.bench.anytime import BEYOND, anytime_figure, number_of
from poise.bench.result import Result
from poise.errors import Refused


def places(axes: Axes, *values: float) -> list[float]:
    """How high these values lie, 0 to 1."""
    points = axes.transData.transform([(1, value) for value in values])
    return [float(y) for _, y in axes.transAxes.inverted().transform(points)]


def test_equal_ratios_of_the_distance_to_the_top_are_equal_lengths() -> None:
    figure = anytime_figure([standing("darts", "magnitude", run_of("3 3 3 3 3 3", 0.5))], "accuracy", 90.75, 94.37)
    top = figure.axes[0]
    end = 94.37 + BEYOND
    heights = places(top, *(end - distance for distance in (4, 2, 1)))
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1])
    assert heights[0] < heights[1] < heights[2]
    assert places(top, 90.0)[0] > 0, "the lowest value is on it"
    assert places(top, 94.37)[0] < 1


def test_ticks_are_round_and_apart() -> None:
    low = standing("darts", "magnitude", run_of("s s s s s s", 0.5), curve=54.3)
    figure: Figure = anytime_figure([low], "accuracy", 90.75, 94.37)
    ticks = [float(value) for value in figure.axes[0].get_yticks()]
    assert {60.0, 80.0, 90.0, 92.0, 94.0} <= set(ticks)
    assert 75.5 not in ticks
    assert all(place >= 0.04 for place in np.diff(places(figure.axes[0], *ticks)))


def test_only_contestants_with_epochs_are_drawn() -> None:
    chance = standing("random", "", Result("random", "", 0, cell("s s s s s s"), {"search": 1.0}))
    with pytest.raises(Refused, match="epochs"):
        anytime_figure([chance], "accuracy", 90.0, 94.0)
    figure = anytime_figure([standing("darts", "m", run_of("3 3 3 3 3 3", 0.5)), chance], "accuracy", 90.0, 94.0)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["darts (n = 1)"]


def test_a_number_is_the_mean_of_what_its_pattern_finds() -> None:
    record = {"mixture": {"a": {"entropy": 1.0}, "b": {"entropy": 3.0}}, "skip_share": None}
    assert number_of(r"mixture/.*/entropy")(record) == 2.0
    assert np.isnan(number_of("skip_share")(record))
    assert np.isnan(number_of("eigenvalue")(record))
