"""A captured step is the step: for every method on both published spaces, to the last bit; and what cannot be captured
is computed as ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
import torch
from engine_support import TASK, States, searcher, text_searcher
from test_search_contract import brief
from torch import Tensor

from covering import few_of_all
from full import FULL
from poise.engine.captured import Backend, Captured, CudaGraphs, backend_of
from poise.engine.checkpointer import Checkpointer
from poise.engine.events import Noted, ignore
from poise.engine.loop import Sums
from poise.engine.search import SearchTrainer, search
from poise.engine.searcher import Epoch, Searcher
from poise.methods import METHODS, Method, Progressive, RandomSmoothing
from poise.methods.slots import Progress
from poise.spaces import SPACES
from poise.supernet.draws import Draws
from poise.supernet.narrowing import without
from recorded import Recorder, Recording

HALFWAY = Epoch(Progress(1, 2), 0.05, ("search", 1))
"""Every slot is at work."""

STEPS = 5
"""Of an epoch: two as they come, a captured one, two more replays."""

SIZES = {
    "darts": {"channels": 4, "cells": 3},
    "s3": {"channels": 4, "cells": 3},
    "nasbench201": {"channels": 4, "cells": 1},
    "s4": {"channels": 2, "cells": 3},
}

STEPPING = [name for name in METHODS if name != "darts-pt"]
"""Methods that differ in their steps."""

STEP = ("relaxation", "perturbation", "alignment", "penalty", "hypergradient", "curriculum", "connections")
KINDS = few_of_all({name: [(slot, type(getattr(METHODS[name].build(), slot))) for slot in STEP] for name in STEPPING})
"""Methods that have whatever a step can have."""

CASES = (
    [*product(STEPPING, ("darts", "nasbench201"))]
    if FULL
    else [*product(KINDS, ("nasbench201",)), *product(("poise", "p-darts", "pc-darts"), ("s3",))]
)
"""Of a sample, S3 stands for DARTS: three candidates to an edge instead of eight."""


def built(method: Method, name: str, execution: str = "stacked", steps: int = STEPS, more: int = 0) -> Searcher:
    """A search whose epoch has so many steps, and one of a smaller batch if there is ``more``."""
    # With three cells there is a single normal one, which has nothing to be aligned with.
    more_cells = {"cells": 4} if name in ("darts", "s3") and method.alignment != Method().alignment else {}
    space: Any = method.connections(SPACES[name](**SIZES[name] | more_cells))
    groups = without(space.groups, method.without)
    torch.manual_seed(0)
    supernet = space.supernet(TASK, groups)
    return searcher(method, supernet=supernet, count=4 * steps + more, size=4, execution=execution)


def trained(found: Searcher, backend: Backend | None, epochs: int = 1, listen: Any = ignore) -> dict[str, Tensor]:
    """Everything that moved in the steps of an epoch: weights, buffers, alphas, optimizers, and what was measured."""
    found.backend = backend
    trainer = SearchTrainer(found, lambda number: HALFWAY, listen)
    sums = Sums()
    for epoch in range(epochs):
        for number, batch in enumerate(trainer.begin(epoch, 0)):
            trainer.step(number, batch, sums)
    return dict(flat({**found.state(), "sums": sums.state()}))


def flat(tree: Any, path: str = "") -> Any:
    """The tensors and numbers of nested dicts, by path."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from flat(value, f"{path}/{name}")
    else:
        yield path, torch.as_tensor(tree)


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name, value in one.items() if not torch.equal(value, other[name])]


@pytest.mark.parametrize(("method", "space"), CASES)
def test_a_captured_search_is_the_search_bit_for_bit(method: str, space: str) -> None:
    """On NAS-Bench-201 the two executions take turns."""
    value, recorder, told = brief(METHODS[method].build()), Recorder(), list[Any]()
    small = space == "nasbench201"
    form = "normed" if small and STEPPING.index(method) % 2 else "stacked", STEPS if small else STEPS - 1
    plain = trained(built(value, space, *form), None)
    captured = trained(built(value, space, *form), recorder, listen=told.append)
    assert not told
    assert len(recorder.recordings) == 1, "one graph for all"
    assert differing(plain, captured) == []


DROPPING = Method(curriculum=Progressive(skip_rates=(0.5, 0.5, 0.5)), perturbation=RandomSmoothing())


def test_noise_and_dropout_reach_replays() -> None:
    recorder = Recorder()
    plain = trained(built(DROPPING, "s4"), None)
    assert differing(plain, trained(built(DROPPING, "s4"), recorder)) == []
    assert len(recorder.recordings) == 1


def test_without_new_random_numbers_a_replay_is_another_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above would see."""
    plain = trained(built(DROPPING, "s4"), None)
    monkeypatch.setattr(Draws, "refill", lambda self, seed: self.again())
    assert differing(plain, trained(built(DROPPING, "s4"), Recorder()))


def test_each_epoch_is_captured_anew_and_a_smaller_batch_is_computed_as_it_comes() -> None:
    """Three steps and the smaller batch: a graph each epoch, replayed once."""
    recorder = Recorder()
    plain = trained(built(Method(), "nasbench201", steps=3, more=3), None, epochs=2)
    captured = trained(built(Method(), "nasbench201", steps=3, more=3), recorder, epochs=2)
    assert len(recorder.recordings) == 2
    assert differing(plain, captured) == []


def test_modules_of_your_own_and_texts_are_searched_as_ever_and_it_is_said_once() -> None:
    for build, reason in (
        (searcher, "random numbers cannot be handed to the supernet"),
        (text_searcher, "a batch holds a TextBatch, not tensors only"),
    ):
        told, recorder = list[Any](), Recorder()
        found = build()
        plain = trained(build(), None)
        assert differing(plain, trained(found, recorder, epochs=1, listen=told.append)) == []
        assert told == [Noted(f"steps are not captured in a graph: {reason}")]
        assert not recorder.recordings


def counted(log: list[int]) -> Callable[[Any], Any]:
    """Adds up what it is given, twice over; ``log`` tells when Python was run."""
    total = torch.zeros(2)

    def function(inputs: Tensor) -> dict[str, Tensor]:
        log.append(1)
        total.add_(inputs)
        return {"total": total}

    return function


def test_two_calls_are_plain_the_third_is_captured_and_the_rest_are_replays() -> None:
    log, captured = list[int](), Captured(Recorder(), ignore)
    function = counted(log)
    results = [captured(function, torch.full((2,), float(number))) for number in range(1, 6)]
    assert len(log) == 3
    assert [float(result["total"][0]) for result in results[2:]] == [6.0, 10.0, 15.0], "results are the caller's"
    captured.forget()
    assert float(captured(function, torch.ones(2))["total"][0]) == 16.0
    assert len(log) == 4


def test_what_reads_back_is_not_captured_and_says_where() -> None:
    told, recorder = list[Any](), Recorder()
    captured = Captured(recorder, told.append)
    for _ in range(4):
        assert captured(lambda inputs: torch.ones(1) * inputs.sum().item(), torch.ones(2)) == 2.0
    assert len(told) == 1
    assert "_local_scalar_dense" in told[0].message
    assert "test_captured.py, line" in told[0].message
    assert not captured.capturing
    assert not recorder.recordings


def test_what_a_backend_cannot_capture_is_computed_as_ever() -> None:
    class Fails(Recorder):
        def capture(self, function: Callable[[], Any]) -> Any:
            raise RuntimeError("operation not permitted\nmore")

    log, told = list[int](), list[Any]()
    captured = Captured(Fails(), told.append)
    function = counted(log)
    results = [captured(function, torch.ones(2))["total"].clone() for _ in range(4)]
    assert [float(result[0]) for result in results] == [1.0, 2.0, 3.0, 4.0]
    assert told == [Noted("steps are not captured in a graph: operation not permitted")]


def test_only_cuda_captures_and_only_if_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: device)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert backend_of(cpu, "auto") is None
    assert backend_of(cuda, "off") is None
    assert isinstance(backend_of(cuda, "auto"), CudaGraphs)


def test_cuda_graphs_capture_and_warm_up_on_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls to CUDA, with their order; a recording does the work."""
    log: list[Any] = []

    class Stream:
        def __init__(self, device: torch.device, name: str = "own") -> None:
            self.device, self.name = device, name

        def wait_stream(self, other: Stream) -> None:
            log.append((self.name, "waits for", other.name))

    class Graph:
        def replay(self) -> None:
            self.recording.replay()

    @contextmanager
    def graph(found: Any, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        log.append((stream.name, "captures", capture_error_mode))
        found.recording = Recording()
        with found.recording:
            yield
        found.recording.undo()

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        log.append(("on", stream.name))
        yield

    fakes = {"Stream": Stream, "CUDAGraph": Graph, "graph": graph, "stream": on}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(device, "main"))
    captured, function = Captured(CudaGraphs(torch.device("cpu")), ignore), counted([])
    results = [float(captured(function, torch.ones(2))["total"][0]) for _ in range(4)]
    assert results == [1.0, 2.0, 3.0, 4.0]
    aside = [("own", "waits for", "main"), ("on", "own"), ("main", "waits for", "own")]
    assert log == [*aside, *aside, ("own", "captures", "thread_local")]


def test_a_search_gone_on_with_within_a_captured_epoch_equals_one_run_through() -> None:
    def begun() -> Searcher:
        found = built(Method(), "nasbench201")
        found.backend = Recorder()
        return found

    through, saved = begun(), States()
    search(through, saver=saved.saver())
    other = begun()
    search(other, saver=Checkpointer(start=saved.all[STEPS - 2]))
    assert other.backend.recordings  # type: ignore[union-attr]
    assert differing(dict(flat(through.state())), dict(flat(other.state()))) == []
