"""How long a search step takes and what it launches, against the textbook and against plain DARTS, in one process.

Passes and steps of plain DARTS are measured as the textbook runs them and by both executions of poise. ``poise`` is the
execution that its rule picks, by which all else is measured.

Every figure is a median over rounds in which all candidates take turns, so that what else the machine does hits all
alike; trust the ratios, not the seconds. Kernels are those of a GPU, counted on any machine in calls of their own.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from poise.bench.device_clock import seconds_of
from poise.bench.launches import Launches
from poise.bench.peak_memory import peak_megabytes
from poise.bench.stepper import (
    NORMED,
    POISE,
    STACKED,
    TEXTBOOK,
    Decision,
    Stepper,
    Variant,
    like_a_gpu,
    random_images,
    variants,
)
from poise.data import Images
from poise.engine.device import Place
from poise.errors import Refused
from poise.methods.method import Method
from poise.methods.preset import METHODS
from poise.spaces.space import ImageShape, Space, check_positive, shape_kind

DECISION_BATCHES = 2
"""Batches that a decision of DARTS-PT is measured on."""

PASSES = {"weights pass": "weights_pass", "alphas pass": "alphas_pass"}

CHANNELS, IMAGES, SIDE = 4, 2, 8
"""What kernels are counted on where there is no GPU: launches do not depend on sizes."""

Job = tuple[Callable[[], None], str]
"""What is called, and the name of what it is compared with."""


@dataclass(frozen=True)
class Timing:
    """Median seconds of one thing, and its ratio to a reference: ``seconds / reference's seconds``.

    ``kernels`` are those that a GPU launches, or replays, for it, see `poise.bench.launches`. ``peak_mb`` is the most
    memory that it takes over what is held before, see `peak_megabytes`.
    """

    name: str
    seconds: float
    reference: str
    ratio: float
    kernels: int
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


def machine(place: Place, precision: str) -> dict[str, Any]:
    """What the figures depend on."""
    cuda = place.device.type == "cuda"
    return {
        "processor": torch.cuda.get_device_name(place.device) if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "device": str(place.device),
        "precision": precision,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def darts_step(
    space: Space, batch_size: int, image_size: int, device: str, precision: str, variant: Variant
) -> Callable[[], None]:
    """The step of a stepper that is built in whichever process this is called."""
    images, place = random_images(batch_size, image_size), Place.open(device, precision)
    return Stepper(space, METHODS["darts"].build(), images, place, variant).step


def speed(
    space: Space,
    *,
    batch_size: int = 64,
    image_size: int = 32,
    rounds: int = 5,
    device: str = "auto",
    precision: str = "32",
    methods: tuple[str, ...] = (),
    memory: bool = True,
    tell: Callable[[str], None] = lambda text: None,
) -> SpeedReport:
    """Measure a space: textbook and poise, passes and whole steps, and every method's step.

    Args:
        space: the space, at the size to measure.
        batch_size, image_size: of the random images.
        rounds: how often each thing is timed, after calls that warm up.
        device, precision: where and how.
        methods: names; empty: all.
        memory: whether peak memory is measured too; on a CPU that takes processes of its own.
        tell: hears what is going on.
    """
    check_positive(batch_size=batch_size, image_size=image_size, rounds=rounds)
    if shape_kind(space) is not ImageShape:
        raise Refused(f"speed is measured on images; space {space.name!r} is for text")
    place = Place.open(device, precision)
    compared = variants(place.device)
    jobs = jobs_of(space, methods, batch_size, image_size, place, compared, tell)
    tell("warming up")
    kernels = {name: warmed_up(work) for name, (work, _) in jobs.items()}
    if place.device.type != "cuda":
        tell("counting a GPU's kernels")
        narrow: Any = replace(space, channels=min(CHANNELS, space.channels))  # type: ignore[type-var,attr-defined]
        ours = replace(STACKED, name=POISE.name)  # what a GPU picks
        there = jobs_of(narrow, methods, IMAGES, SIDE, like_a_gpu(), (*compared[:-1], ours))
        kernels = {name: warmed_up(work, 2) for name, (work, _) in there.items()}
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(1, rounds + 1):
        tell(f"round {turn} of {rounds}")
        for name, (work, _) in jobs.items():
            times[name].append(seconds_of(work, place.device))
    medians = {name: statistics.median(values) for name, values in times.items()}
    peaks: dict[str, float | None] = {}
    for variant in compared if memory else ():
        name = f"darts step, {variant.name}"
        tell(f"memory of the {name}")
        prepare = partial(darts_step, space, batch_size, image_size, device, precision, variant)
        peaks[name] = peak_megabytes(prepare, place)
    timings = tuple(
        Timing(name, medians[name], reference, medians[name] / medians[reference], kernels[name], peaks.get(name))
        for name, (_, reference) in jobs.items()
    )
    about = {"name": space.name} | {k: getattr(space, k) for k in ("channels", "cells") if hasattr(space, k)}
    return SpeedReport(about, batch_size, image_size, rounds, machine(place, precision), timings)


def jobs_of(
    space: Space, methods: tuple[str, ...], batch_size: int, image_size: int, place: Place,
    compared: Sequence[Variant], tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Job]:  # fmt: skip
    """Everything that is measured: passes, steps and a decision of plain DARTS, a step of the other methods; what is
    compared ends with what all but plain DARTS is measured by."""
    ours = compared[-1]
    images, darts = random_images(batch_size, image_size), METHODS["darts"].build()
    steppers = {variant: Stepper(space, darts, images, place, variant) for variant in compared}
    jobs: dict[str, Job] = {}
    for title, what in PASSES.items():
        for variant in (TEXTBOOK, NORMED, STACKED):
            jobs[f"{title}, {variant.name}"] = (getattr(steppers[variant], what), f"{title}, textbook")
    for variant, stepper in steppers.items():
        jobs[f"darts step, {variant.name}"] = (stepper.step, "darts step, textbook")
    jobs["two batches of data"] = (steppers[ours].fetch, "darts step, poise")
    voters = random_images(DECISION_BATCHES * batch_size, image_size)
    plainly, swiftly = (
        Decision(Stepper(space, darts, images, place, variant), space, darts, voters) for variant in (TEXTBOOK, ours)
    )
    jobs["darts-pt decision, textbook"] = (plainly.in_full, "darts-pt decision, textbook")
    jobs["darts-pt decision, poise"] = (swiftly.by_rule, "darts-pt decision, textbook")
    return jobs | _method_jobs(space, methods, images, place, ours, tell)


def _method_jobs(
    space: Space, names: tuple[str, ...], images: Images, place: Place, variant: Variant, tell: Callable[[str], None]
) -> dict[str, Job]:
    """A step of every method whose step is not plain DARTS's, or another one's that comes before it."""
    seen, jobs = {step_of(METHODS["darts"].build())}, {}
    for name in names or tuple(METHODS):
        method = METHODS[name].build()
        if step_of(method) in seen or not method.trains_alphas(50):
            continue
        seen.add(step_of(method))
        try:
            stepper = Stepper(space, method, images, place, variant)
        except Refused as refusal:
            if names:
                raise
            tell(f"{name} is left out: {refusal}")
            continue
        jobs[f"{name} step, poise"] = (stepper.step, "darts step, poise")
    return jobs


def warmed_up(work: Callable[[], None], calls: int = 4) -> int:
    """Calls it a few times: layers are tried, libraries choose their kernels, the third call of a step is captured.
    Returns how many kernels the second launches."""
    work()
    with Launches() as found:
        work()
    for _ in range(calls - 2):
        work()
    return found.kernels


def step_of(method: Method) -> Method:
    """The method as its steps see it: what comes after an epoch or a search takes no part in them."""
    plain = Method()
    return replace(method, selection=plain.selection, guard=plain.guard, averaging=plain.averaging)
