"""Protocols: what a comparison of methods fixes, as values. What is not fixed here is the method's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poise.errors import unknown
from poise.named import OWN, check_contestant, check_data
from poise.registries import SELECTIONS


@dataclass(frozen=True)
class Protocol:
    """One way to compare methods.

    Args:
        name: its name on the command line.
        about: one line.
        space, preset: what is searched, and the settings to begin with.
        settings: dotted settings on top.
        selections: rule -> dotted settings of that rule.
        metric: the column of the table that judges, and its ``title`` in figures; ``checks``: columns that show whether
            it was tuned to that one.
        random_cells, random_epochs: random search trains so many random architectures for so many epochs each.
        ranked_cells, ranked_batches: so many random architectures are ranked by the supernet, each on so many batches
            of the search half.
        split_file: the name of a file beside the data that holds the two halves.
        published: contestant -> (mean, standard deviation) of ``metric`` in its paper.
    """

    name: str
    about: str
    space: str
    preset: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    selections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metric: str = "c10_test_200"
    title: str = "CIFAR-10 test accuracy after 200 epochs (%)"
    checks: tuple[str, ...] = ("c100_test_200", "in16_test_200")
    random_cells: int = 60
    random_epochs: int = 2
    ranked_cells: int = 100
    ranked_batches: int = 8
    split_file: str | None = None
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)


SMOKE = Protocol(
    name="smoke",
    about="Seconds: whether everything works. Its figures say nothing.",
    space="nasbench201",
    preset="demo",
    settings={
        "search.epochs": 2, "search.images_per_half": 80, "search.batch_size": 20, "space.channels": 2,
        "space.cells": 1, "search.diagnostics": ("eigenvalue",),
    },
    selections={"perturbation": {"selection.tune_epochs": 0}},
    random_cells=3,
    random_epochs=1,
    ranked_cells=6,
    ranked_batches=2,
)  # fmt: skip

NB201_SMALL = Protocol(
    name="nb201-small",
    about="NAS-Bench-201 with 4 channels and N = 4 on 16 x 16 images: minutes on one core, and plain DARTS collapses.",
    space="nasbench201",
    preset="small",
    settings={"search.alphas.learning_rate": 1e-2, "search.diagnostics": ("eigenvalue",)},
    selections={"perturbation": {"selection.tune_epochs": 1, "selection.confidence": 0.999}},
)

NB201 = Protocol(
    name="nb201",
    about="NAS-Bench-201 as published: 16 channels, N = 5, 50 or 100 epochs, the benchmark's split; for a GPU.",
    space="nasbench201",
    preset="paper",
    settings={"search.diagnostics": ("eigenvalue",)},
    random_cells=100,
    random_epochs=5,
    split_file="split.json",
    published={"darts": (54.30, 0.0), "lambda-darts": (94.36, 0.0)},
)


def _oneshot(number: int, small: bool) -> Protocol:
    """A space of NAS-Bench-1Shot1, judged by NAS-Bench-101."""
    about = (
        "8 channels and 6 cells on 16 x 16 images" if small else "as published: 16 channels, 9 cells, 50 or 100 epochs"
    )
    return Protocol(
        name=f"1shot1-{number}-small" if small else f"1shot1-{number}",
        about=f"Space {number} of NAS-Bench-1Shot1, {about}; the table is NAS-Bench-101's.",
        space=f"nasbench1shot1-{number}",
        preset="small" if small else "paper",
        selections={"perturbation": {"selection.tune_epochs": 1, "selection.confidence": 0.999}} if small else {},
        metric="test",
        title="CIFAR-10 test accuracy after 108 epochs (%)",
        checks=("validation",),
    )


ONESHOT = tuple(_oneshot(number, small) for number in (1, 2, 3) for small in (True, False))

PROTOCOLS = {protocol.name: protocol for protocol in (SMOKE, NB201_SMALL, NB201, *ONESHOT)}


def protocol(name: str) -> Protocol:
    """The protocol of this name. Raises `Refused` if there is none."""
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def check_names(name: str, contestants: Sequence[str], selections: Sequence[str], data: str) -> None:
    """Raise `Refused` for a bench of names that do not exist, or of no data, before torch is imported."""
    protocol(name)
    for label in contestants:
        check_contestant(label)
    for rule in selections:
        if rule != OWN:
            SELECTIONS.check(rule)
    check_data(data)
