"""The speed bench compares like with like. No test here looks at the clock."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from poise.bench.device_clock import seconds_of
from poise.bench.peak_memory import peak_megabytes
from poise.bench.speed import SpeedReport, Timing, _method_jobs, darts_step, machine, speed
from poise.bench.stepper import NORMED, POISE, TEXTBOOK, Stepper, random_images, variants
from poise.bench.textbook import Textbook
from poise.cli.main import main
from poise.engine.device import Place
from poise.errors import Refused
from poise.methods import METHODS
from poise.spaces import SPACES, ImageShape
from poise.supernet.groups import expand


@pytest.mark.parametrize("name", ["darts", "nasbench201", "s1"])
def test_the_textbook_it_compares_with_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    space: Any = SPACES[name](channels=4, cells=3)  # type: ignore[call-arg]
    supernet = space.supernet(ImageShape(3, (8, 8), 5)).double()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    alphas = {group.name: torch.randn(group.shape, dtype=torch.float64) for group in space.groups}
    mixture = expand({name: values.softmax(1) for name, values in alphas.items()}, space.groups)
    torch.testing.assert_close(Textbook(supernet)(images, mixture), supernet(images, mixture), rtol=1e-10, atol=1e-10)


def test_report_holds_ratios_and_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poise.bench.speed.peak_megabytes", lambda *given: None)  # it takes processes of its own
    space = SPACES["nasbench201"](channels=2, cells=1)  # type: ignore[call-arg]
    heard: list[str] = []
    methods = ("darts", "darts-pt", "sdarts-rs", "lambda-darts")
    report = speed(space, batch_size=4, image_size=8, rounds=2, device="cpu", methods=methods, tell=heard.append)
    assert heard[:4] == ["warming up", "counting a GPU's kernels", "round 1 of 2", "round 2 of 2"]
    timings = {timing.name: timing for timing in report.timings}
    assert {"darts step, normed", "sdarts-rs step, poise", "lambda-darts step, poise"} <= set(timings)
    for timing in timings.values():
        assert timing.ratio == timing.seconds / timings[timing.reference].seconds
        assert timing.kernels > 0
    step, weights, alphas = (
        timings[name].kernels for name in ("darts step, stacked", "weights pass, stacked", "alphas pass, stacked")
    )
    assert weights + alphas < step < 1.5 * (weights + alphas), "a step is two passes and what moves the parameters"


def test_every_distinct_step_is_measured_once() -> None:
    space, place = SPACES["nasbench201"](channels=2, cells=1), Place.open("cpu")  # type: ignore[call-arg]
    heard: list[str] = []
    jobs = _method_jobs(space, (), random_images(4, 8), place, POISE, heard.append)
    assert {"sdarts-adv step, poise", "lambda-darts step, poise", "darts-2nd step, poise"} <= set(jobs)
    assert "darts-pt step, poise" not in jobs, "a rule of selection does not change the step"
    assert [text[:58] for text in heard] == ["pc-darts is left out: 2 channels cannot be divided into 4 "]
    with pytest.raises(Refused, match="2 channels cannot be divided"):
        _method_jobs(space, ("pc-darts",), random_images(4, 8), place, POISE, heard.append)


def test_what_a_gpu_compares() -> None:
    assert [each.name for each in variants(torch.device("cpu"))] == ["textbook", "normed", "stacked", "poise"]
    compared = {each.name: each for each in variants(torch.device("cuda"))}
    assert list(compared)[3:] == [
        "textbook, captured", "normed, captured", "stacked, captured", "stacked, channels last, captured", "poise",
    ]  # fmt: skip
    space: Any = SPACES["nasbench201"](channels=2, cells=1)  # type: ignore[call-arg]
    first = replace(Place.open("cpu"), channels_last=False)  # as on a GPU
    for name, last in (("stacked, captured", False), ("stacked, channels last, captured", True), ("textbook", False)):
        stepper = Stepper(space, METHODS["darts"].build(), random_images(2, 8), first, compared[name])
        stepper.step()
        weight = stepper.searcher.weights[f"{'supernet.' if name == 'textbook' else ''}stem.0.weight"]
        assert weight.is_contiguous(memory_format=torch.channels_last) == last
        assert stepper.searcher.settings.capture == ("off" if name == "textbook" else "auto")


class FakeGpu:
    """A device whose clock moves by 2 ms for each piece of work, and whose host never waits but in the end."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, 0

    def Event(self, enable_timing: bool) -> FakeGpu._Event:
        assert enable_timing
        return FakeGpu._Event(self)

    def synchronize(self) -> None:
        self.waits += 1

    class _Event:
        def __init__(self, gpu: FakeGpu) -> None:
            self._gpu = gpu

        def record(self) -> None:
            self.at = self._gpu.now

        def elapsed_time(self, end: FakeGpu._Event) -> float:
            assert self._gpu.waits == 2, "what is still at work has no time yet"
            return end.at - self.at


def test_a_gpu_is_timed_by_its_own_events(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    monkeypatch.setattr(torch, "get_device_module", lambda device: gpu)

    def work() -> None:
        gpu.now += 2

    assert seconds_of(work, torch.device("cuda")) == pytest.approx(0.002)


def test_command_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured is that of the test above."""
    file, given = tmp_path / "speed.json", dict[str, Any]()

    def measured(space: Any, **rest: Any) -> SpeedReport:
        given.update(rest)
        about = {"name": space.name, "channels": space.channels, "cells": space.cells}
        timings = (Timing("darts step, poise", 0.5, "darts step, poise", 1.0, 7),)
        return SpeedReport(about, 4, 8, 1, machine(Place.open(rest["device"]), rest["precision"]), timings)

    monkeypatch.setattr("poise.bench.speed.speed", measured)
    sizes = [
        "--channels=2",
        "--cells=1",
        "--batch-size=4",
        "--image-size=8",
        "--rounds=1",
        "--methods=darts",
        "--no-memory",
    ]
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "speed", "--space=nasbench201", *sizes, "--device=cpu", f"--out={file}"])
    assert not stopped.value.code
    assert "darts step, poise" in capsys.readouterr().out
    report = json.loads(file.read_text())
    assert report["space"] == {"name": "nasbench201", "channels": 2, "cells": 1}
    assert report["machine"]["torch"] == torch.__version__
    assert report["timings"] == [
        {
            "name": "darts step, poise",
            "seconds": 0.5,
            "reference": "darts step, poise",
            "ratio": 1.0,
            "kernels": 7,
            "peak_mb": None,
        }
    ]
    assert given.pop("tell") is not None
    assert given == {
        "batch_size": 4,
        "image_size": 8,
        "rounds": 1,
        "device": "cpu",
        "precision": "32",
        "methods": ("darts",),
        "memory": False,
    }


def test_refusals() -> None:
    with pytest.raises(Refused, match="rounds"):
        speed(SPACES["s2"](), rounds=0)
    with pytest.raises(Refused, match="speed is measured on images; space 'recurrent' is for text"):
        speed(SPACES["recurrent"]())
    with pytest.raises(Refused, match="no textbook version"):
        Textbook(torch.nn.Linear(1, 1))


def _allocates(megabytes: int) -> Callable[[], None]:
    return partial(torch.ones, megabytes * 2**18)  # type: ignore[return-value]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from Linux's own account")
def test_peak_memory_is_what_the_step_allocates() -> None:
    found = peak_megabytes(partial(_allocates, 300), Place.open("cpu"))
    assert found is not None
    assert 300 <= found < 330


def test_a_step_of_poise_takes_less_memory_than_the_textbook_one() -> None:
    peaks = [
        peak_megabytes(
            partial(darts_step, SPACES["darts"](channels=8, cells=3), 32, 16, "cpu", "32", variant),
            Place.open("cpu"),
        )
        for variant in (NORMED, TEXTBOOK)
    ]
    if None in peaks:
        pytest.skip("peak memory cannot be read here")
    assert peaks[0] < 0.6 * peaks[1]  # type: ignore[operator]
