"""Amounts with units."""

from __future__ import annotations

from pathlib import Path

import pytest

from poise.config.quantities import parse_amount, parse_size, parse_target
from poise.costs.target import CostTarget
from poise.errors import Refused


def test_counts_and_times() -> None:
    found = [parse_amount("macs", text) for text in ("300M", "1.5k", "2K", "4e6", "0.3G", " 12 M ", "7")]
    assert found == pytest.approx([3e8, 1500, 2000, 4e6, 3e8, 1.2e7, 7])
    found = [parse_amount("latency", text) for text in ("8ms", "0.5 s", "250us", "250µs")]
    assert found == pytest.approx([0.008, 0.5, 2.5e-4, 2.5e-4])


@pytest.mark.parametrize("text", ["", "M", "300X", "300 mb", "-3M", "1e999", "nan", "3M3", "8ms", "0x10", "9" * 400])
def test_no_counts(text: str) -> None:
    with pytest.raises(Refused, match="--target-macs"):
        parse_amount("macs", text)


@pytest.mark.parametrize("text", ["8", "8M", "8min", "ms", "-1ms", "inf s"])
def test_no_times(text: str) -> None:
    with pytest.raises(Refused, match="such as 8ms; got"):
        parse_amount("latency", text)


def test_sizes() -> None:
    assert [parse_size(text, "--size") for text in ("64", "48x64", "7×1")] == [(64, 64), (48, 64), (7, 1)]
    for text in ("", "0", "0x3", "3x", "x3", "-3", "3x4x5", "3.5", "9" * 9, "64 pixels"):
        with pytest.raises(Refused, match="--size takes a height and width in pixels, such as 64 or 48x64; got"):
            parse_size(text, "--size")


def test_zero_is_no_target() -> None:
    with pytest.raises(Refused, match="must be above 0"):
        parse_amount("macs", "0M")


def test_one_target_at_a_time() -> None:
    assert parse_target() is None
    assert parse_target(macs="3M") == CostTarget("macs", 3e6)
    assert parse_target(parameters="3M") == CostTarget("parameters", 3e6)
    assert parse_target(latency="3ms", table=Path("t.json")) == CostTarget("latency", 0.003, "t.json")
    with pytest.raises(Refused, match="one target at a time; got --target-macs and --target-latency"):
        parse_target(macs="3M", latency="3ms")
    with pytest.raises(Refused, match="goes with"):
        parse_target(macs="3M", table=Path("t.json"))
    with pytest.raises(Refused, match="--latency-table goes with --target-latency"):
        parse_target(table=Path("t.json"))
    with pytest.raises(Refused, match="poise measure-latency"):
        parse_target(latency="3ms")
