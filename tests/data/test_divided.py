"""Batches that are divided over processes: put together they are those of one process, every row once, in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from data_helpers import noise
from PIL import Image

from poise.data import Augmentation, Batches, Images, open_source
from poise.data.crops import RandomPart
from poise.data.sample_batches import SampleBatches
from poise.data.samples import Samples
from poise.data.standard import Standard
from poise.data.streaming import StreamedBatches
from poise.supernet.processes import ALONE, Processes
from poise.supernet.trees import tensors

COUNT, SIZE = 11, 5
"""Batches of 5, 5 and 1, whose last row only the first process has."""

STD = {"mean": (0.5,) * 3, "std": (0.2,) * 3, "device": "cpu"}


def pixels(count: int = COUNT) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def in_memory(processes: Processes, folder: Path) -> Any:
    augmentation = Augmentation(crop_padding=2, flip=True, cutout=3)
    images = Images(pixels(), torch.arange(COUNT) % 2, ("a", "b"))
    return Batches(images, SIZE, augmentation=augmentation, drop_last=False, processes=processes, **STD)


def masked(processes: Processes, folder: Path) -> Any:
    masks = torch.arange(COUNT * 64).view(COUNT, 8, 8) % 3
    augmentation = Augmentation(crop_padding=2, flip=True)
    images = Images(pixels(), masks, ("a", "b", "c"))
    return Batches(images, SIZE, augmentation=augmentation, drop_last=False, processes=processes, **STD)


def samples(processes: Processes, folder: Path) -> Any:
    given = Samples({"x": torch.arange(COUNT * 2.0).view(COUNT, 2)}, torch.arange(COUNT) % 2, ("a", "b"))
    standard = Standard.of(given.inputs)
    return SampleBatches(given, SIZE, standard=standard, device="cpu", drop_last=False, processes=processes)


def streamed(processes: Processes, folder: Path) -> Any:
    for number in range(COUNT):
        path = folder / "train" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(20 + number, 31 - number, 3, seed=number)).save(path)
    source: Any = open_source(folder)
    part = RandomPart(8, jitter=0.4)
    images, count = source.streamed("train"), len(source.streamed("train"))
    assert count > SIZE
    return StreamedBatches(
        images, SIZE, part=part, cutout=3, workers=0, drop_last=False, processes=processes, **STD
    )  # fmt: skip


@pytest.mark.parametrize("make", [in_memory, masked, samples, streamed])
@pytest.mark.parametrize("passing", ["epoch", "ordered"])
def test_parts_make_up_the_batches_of_one_process(
    make: Callable[[Processes, Path], Any], passing: str, tmp_path: Path
) -> None:
    def all_of(processes: Processes) -> list[Any]:
        batches = make(processes, tmp_path)
        return list(batches.epoch(torch.Generator().manual_seed(3), 0) if passing == "epoch" else batches.ordered())

    whole, *parts = (all_of(processes) for processes in (ALONE, *(Processes(rank, 3) for rank in range(3))))
    assert len(whole) > 1
    for (inputs, labels), *shares in zip(whole, *parts, strict=True):
        assert all(torch.equal(share_labels, labels) for _, share_labels in shares), "all labels in every process"
        pieces = [tensors(share_inputs) for share_inputs, _ in shares]
        for place, value in enumerate(tensors(inputs)):
            assert torch.equal(torch.cat([piece[place] for piece in pieces]), value)
            sizes = [len(piece[place]) for piece in pieces]
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("make", [in_memory, samples, streamed])
def test_a_first_batch_is_whole_in_every_process(make: Callable[[Processes, Path], Any], tmp_path: Path) -> None:
    """It stands for the memory of one process."""
    (inputs, labels), (others, _) = (make(each, tmp_path).first(4) for each in (ALONE, Processes(1, 2)))
    assert len(labels) == 4
    assert all(torch.equal(one, two) for one, two in zip(tensors(inputs), tensors(others), strict=True))
