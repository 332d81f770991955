"""A retraining, ready to take single steps: what a measurement of its speed measures."""

from __future__ import annotations

import torch

from poise.bench.stepper import CLASSES, batches_of, random_images
from poise.engine.device import Place
from poise.engine.loop import Sums
from poise.engine.settings import TrainSettings
from poise.engine.streams import seeded
from poise.engine.train import NetworkDescent, NetworkTrainer
from poise.genotype import Genotype
from poise.spaces.space import SPACES, ImageShape

CELL = """Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],
reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),
('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"""
"""The cells that DARTS published for CIFAR-10 (second order)."""


class Retraining:
    """The published DARTS network in the middle of its training, on noise.

    Args:
        settings: size of the network, of the batches, and how it is trained.
        side: of the images, in pixels.
        place: where and how.
    """

    def __init__(self, settings: TrainSettings, side: int, place: Place) -> None:
        shape = ImageShape(3, (side, side), CLASSES)
        with seeded(0, place.device):
            network = SPACES["darts"]().network(
                Genotype.parse(CELL), shape, channels=settings.channels, cells=settings.cells,
                auxiliary=settings.auxiliary > 0,
            )  # fmt: skip
        images = random_images(settings.batch_size, side)
        self._batches = batches_of(images, settings.batch_size, place, cutout=side // 2)
        self._trainer = NetworkTrainer(NetworkDescent(network, settings, place, 0), self._batches)
        self._trainer.begin(settings.epochs // 2, 0)
        self._sums, self._steps = Sums(), 0

    def step(self) -> None:
        """The next step of the epoch, its data included."""
        batch = next(self._batches.epoch(torch.Generator().manual_seed(self._steps)))
        self._trainer.step(self._steps, batch, self._sums)
        self._steps += 1

    @property
    def replays(self) -> bool:
        """Whether the next step is a replay of a captured one."""
        return self._trainer.replays
