"""How long a search step takes, against the textbook and against plain DARTS, in one process, interleaved.

Every figure is a median over rounds in which all candidates take turns, so that what else the machine does hits all
alike; trust the ratios, not the seconds.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from poise.bench.peak_memory import peak_megabytes
from poise.bench.textbook import Textbook
from poise.data import Augmentation, Batches, Images
from poise.engine.device import Place
from poise.engine.search import Searcher
from poise.engine.settings import SearchSettings
from poise.engine.streams import seeded
from poise.engine.trained import TrainedSupernet
from poise.errors import Refused
from poise.methods.method import Method
from poise.methods.preset import METHODS
from poise.methods.slots import Progress
from poise.selection.edits import Edits
from poise.selection.perturbation import PerturbationRule
from poise.selection.rule import eligible
from poise.spaces.space import ImageShape, Space, check_positive, shape_kind
from poise.supernet.narrowing import without

CLASSES = 10
DECISION_BATCHES = 2
"""Batches that a decision of DARTS-PT is measured on."""


@dataclass(frozen=True)
class Timing:
    """Median seconds of one thing, and its ratio to a reference: ``seconds / reference's seconds``.

    ``peak_mb`` is the most memory that it takes over what is held before, see `peak_megabytes`.
    """

    name: str
    seconds: float
    reference: str
    ratio: float
    peak_mb: float | None = None


@dataclass(frozen=True)
class SpeedReport:
    """What was measured, on what."""

    space: Mapping[str, Any]
    batch_size: int
    image_size: int
    rounds: int
    machine: Mapping[str, Any]
    timings: tuple[Timing, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def machine(place: Place) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "device": str(place.device),
        "dtype": str(place.dtype),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def random_images(count: int, size: int) -> Images:
    """Noise in colour, ten classes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % CLASSES, tuple(map(str, range(CLASSES))))


class _Bench:
    """One supernet under one method, ready to take single steps."""

    def __init__(self, space: Space, method: Method, images: Images, place: Place, plain: bool = False) -> None:
        self._batch_size = len(images)
        self._place, self._plain = place, plain
        space = method.connections(space)
        groups = without(space.groups, method.without)
        with seeded(0, place.device):
            supernet: Any = space.supernet(ImageShape(3, images.size, CLASSES), groups)
        if plain:
            supernet = Textbook(supernet)
        self.batches = batches = self.batches_of(images)
        settings = SearchSettings(epochs=50, batch_size=self._batch_size)
        self.searcher = Searcher(supernet, groups, method, settings, batches, batches, place, 0)
        if plain:
            supernet.to(memory_format=torch.contiguous_format)
        self._epoch = 0

    def batches_of(self, images: Images) -> Batches:
        """Batches of the bench's size."""
        return Batches(
            images,
            self._batch_size,
            augmentation=Augmentation(crop_padding=images.size[0] // 8, flip=True),
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            device=self._place.device,
            dtype=self._place.dtype,
            channels_last=not self._plain,
        )

    def step(self) -> None:
        """A whole search step (an epoch of one batch), in the middle of a search, when every slot is at work."""
        self._epoch += 1
        self.searcher.epoch(Progress(25, 50), 0.025, ("bench", self._epoch))

    def batch(self) -> None:
        """Fetch and augment the two batches of a step."""
        for number in range(2):
            next(self.batches.epoch(torch.Generator().manual_seed(number)))

    def passes(self) -> None:
        """Forward and backward with respect to the weights."""
        loss = self.searcher.loss(*next(self.batches.ordered()), 0)
        mixture = {name: values.detach() for name, values in self.searcher.mixture().items()}
        value = loss(mixture, track=True)
        torch.autograd.grad(value, list(self.searcher.weights.values()), allow_unused=True)


class _Decision:
    """One decision of DARTS-PT, which candidate of a row stays, before anything else is decided."""

    def __init__(self, bench: _Bench, space: Space, method: Method, images: Images) -> None:
        bench.searcher.searching = bench.batches_of(images)
        group, row = space.groups[0], len(space.groups[0].rows) // 2
        none = Edits.none(space.groups)
        self.without = {index: none.drop(group.name, row, index) for index in eligible(group, row)}
        alphas = bench.searcher.alphas
        self.trained = TrainedSupernet(space, space.groups, alphas, method.relaxation, lambda: bench.searcher, 0)

    def in_full(self) -> None:
        """Every candidate on every batch, one after the other."""
        for edits in self.without.values():
            self.trained.compare([edits])

    def by_rule(self) -> None:
        """As the rule decides."""
        PerturbationRule().winner(self.trained, self.without, "lowest")


def _darts_step(
    space: Space, batch_size: int, image_size: int, device: str, precision: str, plain: bool
) -> Callable[[], None]:
    """The step of a bench that is built in whichever process this is called."""
    images, place = random_images(batch_size, image_size), Place.open(device, precision)
    return _Bench(space, METHODS["darts"].build(), images, place, plain).step


def speed(
    space: Space,
    *,
    batch_size: int = 64,
    image_size: int = 32,
    rounds: int = 5,
    device: str = "auto",
    precision: str = "32",
    methods: tuple[str, ...] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> SpeedReport:
    """Measure a space: textbook and poise, forward+backward and a whole step, and every method's step.

    Args:
        space: the space, at the size to measure.
        batch_size, image_size: of the random images.
        rounds: how often each thing is timed, after one round that warms up.
        device, precision: where and how.
        methods: names; empty: all.
        tell: hears what is going on.
    """
    check_positive(batch_size=batch_size, image_size=image_size, rounds=rounds)
    if shape_kind(space) is not ImageShape:
        raise Refused(f"speed is measured on images; space {space.name!r} is for text")
    place = Place.open(device, precision)
    images = random_images(batch_size, image_size)
    names = [name for name in (methods or tuple(METHODS)) if METHODS[name]]
    darts = METHODS["darts"].build()
    textbook = _Bench(space, darts, images, place, plain=True)
    fast = _Bench(space, darts, images, place)
    jobs: dict[str, tuple[Callable[[], None], str]] = {
        "forward+backward, textbook": (textbook.passes, "forward+backward, textbook"),
        "forward+backward, poise": (fast.passes, "forward+backward, textbook"),
        "darts step, textbook": (textbook.step, "darts step, textbook"),
        "darts step, poise": (fast.step, "darts step, textbook"),
        "two batches of data": (fast.batch, "darts step, poise"),
    }
    voters = random_images(DECISION_BATCHES * batch_size, image_size)
    plainly = _Decision(_Bench(space, darts, images, place, plain=True), space, darts, voters)
    swiftly = _Decision(_Bench(space, darts, images, place), space, darts, voters)
    jobs["darts-pt decision, textbook"] = (plainly.in_full, "darts-pt decision, textbook")
    jobs["darts-pt decision, poise"] = (swiftly.by_rule, "darts-pt decision, textbook")
    seen = {step_of(darts)}
    for name in names:
        method = METHODS[name].build()
        if step_of(method) not in seen and method.trains_alphas(50):
            seen.add(step_of(method))
            try:
                bench = _Bench(space, method, images, place)
            except Refused as refusal:
                if methods:
                    raise
                tell(f"{name} is left out: {refusal}")
                continue
            jobs[f"{name} step, poise"] = (bench.step, "darts step, poise")
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        tell(f"round {turn} of {rounds}" if turn else "warming up")
        for name, (job, _) in jobs.items():
            seconds = timed(job, place)
            if turn:
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    memory: dict[str, float | None] = {}
    for name, plain in (("darts step, textbook", True), ("darts step, poise", False)):
        tell(f"memory of the {name}")
        prepare = partial(_darts_step, space, batch_size, image_size, device, precision, plain)
        memory[name] = peak_megabytes(prepare, place)
    timings = tuple(
        Timing(name, medians[name], reference, medians[name] / medians[reference], memory.get(name))
        for name, (_, reference) in jobs.items()
    )
    about = {"name": space.name} | {k: getattr(space, k) for k in ("channels", "cells") if hasattr(space, k)}
    return SpeedReport(about, batch_size, image_size, rounds, machine(place), timings)


def step_of(method: Method) -> Method:
    """The method as its steps see it: what comes after an epoch or a search takes no part in them."""
    plain = Method()
    return replace(method, selection=plain.selection, guard=plain.guard, averaging=plain.averaging)


def timed(job: Callable[[], None], place: Place) -> float:
    """Seconds of one call, until the device is done."""
    wait(place)
    start = time.perf_counter()
    job()
    wait(place)
    return time.perf_counter() - start


def wait(place: Place) -> None:
    """Until the device has done what it was given."""
    if place.device.type != "cpu":
        torch.get_device_module(place.device).synchronize()
