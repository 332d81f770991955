"""A supernet under a method, ready to take single steps: what a measurement of speed measures, in several variants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from poise.bench.textbook import Textbook
from poise.data import Augmentation, Batches, Images
from poise.engine.device import Place
from poise.engine.loop import Sums
from poise.engine.search import SearchTrainer
from poise.engine.searcher import Epoch, Searcher
from poise.engine.settings import Normalisation, SearchSettings
from poise.engine.streams import seeded
from poise.engine.trained import TrainedSupernet
from poise.methods.method import Method
from poise.methods.slots import Progress
from poise.selection.edits import Edits
from poise.selection.perturbation import PerturbationRule
from poise.selection.rule import eligible
from poise.spaces.execution import Execution
from poise.spaces.space import ImageShape, Space
from poise.supernet.narrowing import without

CLASSES = 10
HALFWAY = Epoch(Progress(25, 50), 0.025, ("bench", 25))
"""The middle of a search, when every slot is at work."""


@dataclass(frozen=True)
class Variant:
    """A way to run a supernet.

    Args:
        name: what it is called.
        execution: of poise; None: as the released implementations run theirs (`Textbook`), channels first.
        capture: whether a GPU captures steps in a graph, ``search.capture``.
        turned: whether channels lie the other way than they do on this device.
        normalisation: of several processes.
    """

    name: str
    execution: Execution | None
    capture: Literal["auto", "off"] = "off"
    turned: bool = False
    normalisation: Normalisation = "local"


TEXTBOOK, NORMED, STACKED = Variant("textbook", None), Variant("normed", "normed"), Variant("stacked", "stacked")
POISE = Variant("poise", "auto", "auto")
"""What a search gets where nothing is said of it."""


def variants(device: torch.device) -> tuple[Variant, ...]:
    """What there is to compare on a device: its own choice comes last."""
    plain = (TEXTBOOK, NORMED, STACKED)
    if device.type != "cuda":
        return (*plain, POISE)
    captured = (replace(each, name=f"{each.name}, captured", capture="auto") for each in plain)
    turned = Variant("stacked, channels last, captured", "stacked", "auto", turned=True)
    return (*plain, *captured, turned, POISE)


def like_a_gpu() -> Place:
    """A place on the CPU that runs the kernels that a GPU would run: channels first, and float64, of which CPUs have no
    ways of their own."""
    return Place.open("cpu", "64", channels_last=False)


def random_images(count: int, size: int) -> Images:
    """Noise in colour, ten classes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % CLASSES, tuple(map(str, range(CLASSES))))


def batches_of(images: Images, batch_size: int, place: Place, cutout: int = 0) -> Batches:
    """Batches of these images, cropped, flipped and cut out as in training."""
    return Batches(
        images,
        batch_size,
        augmentation=Augmentation(crop_padding=images.size[0] // 8, flip=True, cutout=cutout),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        device=place.device,
        dtype=place.dtype,
        channels_last=place.channels_last,
        processes=place.processes,
    )


class Stepper:
    """One supernet under one method, in the middle of an epoch.

    Args:
        space, method: what is searched, and how.
        images: one batch.
        place: where and how.
        variant: how the supernet is run.
    """

    def __init__(self, space: Space, method: Method, images: Images, place: Place, variant: Variant = POISE) -> None:
        self._batch_size = len(images)
        layout = variant.execution is not None and place.channels_last != variant.turned
        self._place = place = replace(place, channels_last=layout)
        space = method.connections(space)
        groups = without(space.groups, method.without)
        with seeded(0, place.device):
            supernet: Any = space.supernet(ImageShape(3, images.size, CLASSES), groups)
        if variant.execution is None:
            supernet = Textbook(supernet)
        self.batches = batches = self.batches_of(images)
        settings = SearchSettings(
            epochs=50,
            batch_size=self._batch_size,
            execution=variant.execution or "auto",
            capture=variant.capture,
            normalisation=variant.normalisation,
        )
        self.searcher = Searcher(supernet, groups, method, settings, batches, batches, place, 0)
        self._trainer = SearchTrainer(self.searcher, lambda number: HALFWAY)
        self._trainer.begin(HALFWAY.progress.epoch, 0)
        self._sums, self._steps = Sums(), 0

    def batches_of(self, images: Images) -> Batches:
        """Batches of the stepper's size."""
        return batches_of(images, self._batch_size, self._place)

    def step(self) -> None:
        """The next step of the epoch: its data, the alphas, the weights."""
        batch = next(self.batches.epoch(torch.Generator().manual_seed(self._steps)))
        self._trainer.step(self._steps, batch, self._sums)
        self._steps += 1

    @property
    def replays(self) -> bool:
        """Whether the next step is a replay of a captured one."""
        return self._trainer.replays

    def fetch(self) -> None:
        """Fetch and augment the two batches of a step."""
        for number in range(2):
            next(self.batches.epoch(torch.Generator().manual_seed(number)))

    def weights_pass(self) -> None:
        """Forward and backward with respect to the weights."""
        loss = self.searcher.loss(*next(self.batches.ordered()), 0)
        mixture = {name: values.detach() for name, values in self.searcher.mixture().items()}
        value = loss(mixture, track=True)
        torch.autograd.grad(value, list(self.searcher.weights.values()), allow_unused=True)

    def alphas_pass(self) -> None:
        """Forward and backward with respect to the mixture."""
        loss = self.searcher.loss(*next(self.batches.ordered()), 0)
        mixture = {name: values.detach().requires_grad_() for name, values in self.searcher.mixture().items()}
        value = loss(mixture, {name: weight.detach() for name, weight in self.searcher.weights.items()})
        torch.autograd.grad(value, list(mixture.values()))


class Decision:
    """One decision of DARTS-PT, which candidate of a row stays, before anything else is decided.

    Args:
        stepper: whose supernet is asked.
        space, method: the stepper's.
        images: those that candidates are compared on.
    """

    def __init__(self, stepper: Stepper, space: Space, method: Method, images: Images) -> None:
        stepper.searcher.searching = stepper.batches_of(images)
        group, row = space.groups[0], len(space.groups[0].rows) // 2
        none = Edits.none(space.groups)
        self.without = {index: none.drop(group.name, row, index) for index in eligible(group, row)}
        alphas = stepper.searcher.alphas
        self.trained = TrainedSupernet(space, space.groups, alphas, method.relaxation, lambda: stepper.searcher, 0)

    def in_full(self) -> None:
        """Every candidate on every batch, one after the other."""
        for edits in self.without.values():
            self.trained.compare([edits])

    def by_rule(self) -> None:
        """As the rule decides."""
        PerturbationRule().winner(self.trained, self.without, "lowest")
