"""Records and results of any metric are read by what they say of themselves; shares are in percent."""

from __future__ import annotations

import math
from typing import Any

import pytest

from poise.report.curves import curves_figure
from poise.report.diagnosis import readable
from poise.report.progress import epoch_line
from poise.report.readable_numbers import is_share, parts, shares
from poise.report.summary import measured
from poise.report.tables import history_table, number, result_rows


def record(metric: str, share: bool, **numbers: float | None) -> dict[str, Any]:
    said = {"name": metric, "higher_is_better": True, "share": share}
    return {"epoch": 0, "seconds": 1.0, "metric": said, **numbers}


def test_a_name_says_of_what_part_and_of_what() -> None:
    assert parts("train_mean_iou") == ("train", "mean_iou")
    assert parts("skip_share") == ("", "skip_share")
    assert parts("train_") == ("", "train_")


def test_shares_are_those_of_the_tasks_and_of_the_records() -> None:
    known = shares()
    assert {"accuracy", "top5_accuracy", "mean_average_precision", "f1_macro", "mean_iou"} <= known
    assert not {"r2", "mae", "rmse", "loss", "coverage"} & known
    assert is_share("test_accuracy/cat", known)
    assert not is_share("test_loss", known)
    assert shares([record("coverage", True)]) - known == {"coverage"}
    assert shares([record("r2", False), {"epoch": 1}]) == known


def test_an_epoch_is_told_with_what_its_record_holds() -> None:
    numbers = {"train_loss": 0.51234, "train_r2": 0.81239, "search_loss": None, "search_r2": None}
    assert epoch_line("search", record("r2", False, **numbers)) == "search epoch 1 | train loss 0.512 r2 0.8124 | 1.0 s"
    own = record("coverage", True, valid_loss=1.0, valid_perplexity=123.456, valid_coverage=0.5)
    assert epoch_line("train", own) == ("train epoch 1 | valid loss 1.000 perplexity 123.5 coverage 50.0% | 1.0 s")


def test_curves_have_a_panel_for_every_metric() -> None:
    history = [record("coverage", True, train_loss=1.0, search_loss=2.0, train_coverage=0.5, train_rmse=1.5)]
    history[0]["discretisation"] = {"coverage": 0.5, "coverage_discrete": 0.25, "drop": 0.25}
    panels = {axes.get_title(loc="left"): axes for axes in curves_figure(history).axes}
    assert list(panels) == ["loss", "coverage (%)", "rmse", "drop at discretisation (%)"]
    assert [line.get_label() for line in panels["loss"].lines] == ["train", "search"]
    assert panels["coverage (%)"].lines[0].get_ydata().tolist() == [50.0]
    history = [record("rmse", False, train_rmse=1.5) | {"discretisation": {"rmse": 2.0, "drop": 0.25}}]
    assert [axes.get_title(loc="left") for axes in curves_figure(history).axes] == ["rmse", "drop at discretisation"]


def test_tables_and_summaries_too() -> None:
    history = [record("coverage", True, search_loss=1.0, train_coverage=0.5)]
    assert history_table(history).heads == [
        "epoch", "train coverage", "search loss", "seconds",
    ]  # fmt: skip
    result = {
        "parameters": 7,
        "test_mean_iou": 0.5,
        "test_mae": 12.34567,
        "test_coverage": 0.25,
        "test_mean_iou/a": 0.5,
    }
    assert result_rows(result, history) == [
        ("parameters", "7"), ("test mean iou", "50.00%"), ("test mae", "12.3457"), ("test coverage", "25.00%"),
        ("test mean iou/a", "50.00%"),
    ]  # fmt: skip
    assert measured(result, history) == [
        ("parameters", "7"), ("test mean iou", "50.00%"), ("test mae", "12.35"), ("test coverage", "25.00%"),
    ]  # fmt: skip
    assert [number("valid_perplexity", value) for value in (24.13, 1234.5)] == ["24.1", "1234"]
    assert number("train_r2", -0.5) == "-0.5"
    assert number("train_r2", math.nan) == "nan"


@pytest.mark.parametrize(("metric", "drop"), [("accuracy", "25.00%"), ("mae", "0.25")])
def test_a_drop_is_in_percent_where_its_metric_is(metric: str, drop: str) -> None:
    numbers = {f"discretisation/{metric}": 0.5, f"discretisation/{metric}_discrete": 0.25, "discretisation/drop": 0.25}
    assert readable("discretisation/drop", numbers) == drop
    assert readable(f"discretisation/{metric}_discrete", numbers) == drop
    assert readable("saturation/cell/settled", {"saturation/cell/settled": 0.5}) == "50.00%"
