"""Tiny supernets, batches and searchers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poise.data.batches import Augmentation, Batches
from poise.data.images import Images
from poise.data.text import Text
from poise.data.text_batches import TextBatches
from poise.engine.checkpoint import Checkpoints, decode, encode
from poise.engine.checkpointer import Checkpointer, RunControl
from poise.engine.device import Place
from poise.engine.objective import NEXT_WORD
from poise.engine.searcher import Searcher
from poise.engine.settings import SearchSettings
from poise.methods import Method
from poise.spaces import ImageShape, Recurrent, TextShape
from poise.supernet.choice import Choice
from poise.supernet.inputs import SEARCH, TRAINING
from poise.supernet.supernet import ModuleSupernet

TASK = ImageShape(3, (8, 8), 3)
TEXT_TASK = TextShape(7, 3)
DOUBLE = Place.open("cpu", "64")
SINGLE = Place.open("cpu", "32")


def images(count: int, seed: int, classes: int = 3) -> Images:
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % classes, tuple("abcdef"[:classes]))


def batches(count: int = 12, size: int = 4, seed: int = 0, place: Place = SINGLE) -> Batches:
    return Batches(
        images(count, seed), size, augmentation=Augmentation(), mean=(0.5,) * 3, std=(0.3,) * 3,
        device=place.device, dtype=place.dtype, processes=place.processes,
    )  # fmt: skip


class Halve(nn.Module):
    """Not a candidate of any space: whatever maps a tensor to one of its shape can be searched."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def small_network(seed: int = 0, dropout: float = 0.0) -> nn.Module:
    """Two `Choice` layers that share alphas and one that does not, with batch normalisation."""
    torch.manual_seed(seed)

    def candidates() -> dict[str, nn.Module]:
        conv = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, affine=False), nn.Dropout(dropout), nn.Tanh()
        )
        return {"conv": conv, "skip_connect": nn.Identity(), "halve": Halve()}

    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Tanh(),
        Choice(candidates(), "shared"), Choice(candidates(), "shared"), Choice(candidates()),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def small_supernet(seed: int = 0, dropout: float = 0.0) -> ModuleSupernet:
    return ModuleSupernet(small_network(seed, dropout))


def searcher(
    method: Method | None = None, *, supernet: Any = None, place: Place = SINGLE, seed: int = 0, start: Any = None,
    count: int = 12, size: int = 4, **settings: Any,
) -> Searcher:  # fmt: skip
    net = small_supernet() if supernet is None else supernet
    given = SearchSettings.model_validate({"epochs": 2, "batch_size": size, **settings})
    return Searcher(
        net, net.groups, method or Method(), given, batches(count, size, 1, place), batches(count, size, 2, place),
        place, seed, start,
    )  # fmt: skip


def state_of(found: Searcher) -> dict[str, Tensor]:
    """A copy of everything that a search moves: alphas, weights, buffers."""
    alphas = {f"alphas.{name}": value.detach().clone() for name, value in found.alphas.items()}
    return alphas | {name: value.detach().clone() for name, value in found.supernet.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def text_batches(words: int, stream: int, seed: int, sequence: int = 4, vary: bool = True, columns: int = 3) -> Any:
    """Batches of random words."""
    tokens = torch.randint(0, TEXT_TASK.vocabulary, (words,), generator=torch.Generator().manual_seed(seed))
    return TextBatches(
        Text(tokens, tuple("abcdefg")), columns, sequence=sequence, vary=vary, stream=stream, device="cpu"
    )


def text_searcher(
    method: Method | None = None, *, supernet: Any = None, place: Place = SINGLE, seed: int = 0, start: Any = None,
    count: int = 6, size: int = 6, words: int = 30, **settings: Any,
) -> Searcher:  # fmt: skip
    """A searcher of recurrent cells; two steps per epoch by default."""
    if supernet is None:
        torch.manual_seed(0)
        supernet = Recurrent(units=4, nodes=3).supernet(TEXT_TASK)
    given = SearchSettings.model_validate({"epochs": 2, "batch_size": 3, "weights": {"momentum": 0.0}, **settings})
    return Searcher(
        supernet, supernet.groups, method or Method(), given, text_batches(words, TRAINING, 1),
        text_batches(words, SEARCH, 2), place, seed, start, objective=NEXT_WORD,
    )  # fmt: skip


class States(Checkpoints):
    """Every state that is saved, as it comes back from a checkpoint."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.all: list[dict[str, Any]] = []

    def save(self, state: dict[str, Any]) -> Path:
        self.all.append(decode(encode(state)))
        return self.folder

    def saver(self) -> Checkpointer:
        """One that saves after every step."""
        return Checkpointer(self, control=RunControl(every=0), clock=lambda: 0.0)
