"""The mobile space: 19 inverted bottlenecks, each of a kernel and an expansion to be found, or left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.everything import Everything
from poise.spaces.mobile_network import MOBILE_OPERATIONS, STAGES, MobileNetwork
from poise.spaces.space import SPACES, ImageShape, check_choices, check_dense, check_positive
from poise.supernet.choice import mixed_sum
from poise.supernet.groups import ChoiceGroup, Mixture, Row

CANDIDATES = tuple(MOBILE_OPERATIONS)

STARTS = tuple(1 + sum(count for _, count in STAGES[:stage]) for stage in range(len(STAGES)))
"""The first layer of each stage: 1, 3, 7, 11, 15, 19. It changes the channels, so it cannot be left out."""

LAYERS = range(1, 1 + sum(count for _, count in STAGES))

ROWS = {
    "first": tuple(layer for layer in LAYERS if layer in STARTS),
    "rest": tuple(layer for layer in LAYERS if layer not in STARTS),
}
"""Group -> the layers that are its rows."""

RETRAIN: dict[str, Any] = {"auxiliary": 0.0, "label_smoothing": 0.1, "weights": {"weight_decay": 4e-5}}

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "space": {"channels": 4},
        "search": {"epochs": 6, "batch_size": 64, "alphas": {"learning_rate": 3e-3}},
        "train": {"channels": 8, "epochs": 30, "batch_size": 64, "drop_path": 0.0, **RETRAIN},
    },
    "small": {
        "space": {"channels": 8},
        "search": {
            "epochs": 10,
            "batch_size": 64,
            "max_size": 16,
            "images_per_half": 3200,
            "alphas": {"learning_rate": 3e-3},
        },
        "train": {"channels": 16, "epochs": 30, "batch_size": 96, "drop_path": 0.0, **RETRAIN},
    },
    "paper": {
        "space": {"channels": 32},
        "search": {"epochs": 50, "batch_size": 64},
        "train": {"channels": 32, "epochs": 250, "batch_size": 256, "drop_path": 0.2, **RETRAIN},
    },
    "imagenet": {
        "data": {"streaming": True, "size": 224},
        "space": {"channels": 32},
        "search": {"epochs": 50, "batch_size": 64},
        "train": {
            "channels": 32,
            "epochs": 250,
            "batch_size": 256,
            "drop_path": 0.2,
            "flip": True,
            "colour_jitter": 0.4,
            "warm_up": 5,
            **RETRAIN,
        },
    },
}


class MobileSupernet(nn.Module):
    """Every layer computes ``Σ_o p[o]·o(x)``; a bottleneck that keeps the shape adds its input itself, so that what is
    left out counts as much as what is there."""

    draws_nothing = True

    def __init__(self, groups: tuple[ChoiceGroup, ...], shape: ImageShape, channels: int) -> None:
        super().__init__()
        self.groups = groups
        places = {int(row.name): (group, index) for group in groups for index, row in enumerate(group.rows)}
        self.places = [(places[layer][0].name, places[layer][1]) for layer in LAYERS]
        network = MobileNetwork(
            _side_by_side(groups), shape.channels, shape.outputs, channels, min(shape.size), search=True
        )
        self.stem, self.first, self.layers = network.stem, network.first, network.layers
        self.head, self.classifier = network.head, network.classifier

    def forward(self, images: Tensor, mixture: Mixture) -> Tensor:
        x = self.first(self.stem(images))
        for layer, (group, row) in zip(self.layers, self.places, strict=True):
            x = mixed_sum(layer.children(), x, mixture[group][0, row])
        logits: Tensor = self.classifier(self.head(x).mean(dim=(2, 3)))
        return logits


@SPACES.add("mobile")
@dataclass(frozen=True)
class Mobile:
    """The mobile space: 19 layers, each an inverted bottleneck of kernel 3, 5 or 7 and expansion 3 or 6, or left out.

    The space of ProxylessNAS (Cai et al., arXiv:1812.00332) in the form with 19 layers, Fair DARTS's second one (Chu et
    al., arXiv:1911.12126, section 4.4). The first layer of each of the six stages changes the channels, so it has no
    ``skip_connect``. Takes images of any size, see `poise.spaces.mobile_network`.

    Args:
        channels: of the supernet's stem; all widths go with it. Published: 32.
    """

    channels: int = 32

    name: ClassVar[str] = "mobile"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __post_init__(self) -> None:
        check_positive(channels=self.channels)

    @property
    def groups(self) -> tuple[ChoiceGroup, ...]:
        """``first``: the 6 layers that begin a stage; ``rest``: the other 13, which alone have ``skip_connect``. The
        rows are the layers' numbers."""
        kinds = {"first": tuple(name for name in CANDIDATES if name != "skip_connect"), "rest": CANDIDATES}
        return tuple(
            ChoiceGroup(name, 1, tuple(Row(str(layer), kinds[name]) for layer in layers), min_kept=1, max_kept=1)
            for name, layers in ROWS.items()
        )

    def supernet(self, shape: ImageShape, groups: tuple[ChoiceGroup, ...] | None = None) -> MobileSupernet:
        """The supernet of `channels`."""
        check_dense(self, shape)
        return MobileSupernet(groups or self.groups, shape, self.channels)

    def check(self, genotype: Genotype) -> None:
        """Every layer keeps exactly one candidate."""
        check_choices(genotype, self.name, self.groups)

    def network(
        self,
        genotype: Genotype,
        shape: ImageShape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        auxiliary: bool = False,
    ) -> MobileNetwork:
        """The discrete network with ``channels`` of the stem (published: 32). Its depth is fixed: ``cells`` is
        refused."""
        self.check(genotype)
        check_dense(self, shape)
        channels = _width(channels, cells)
        if auxiliary:
            raise Refused("mobile networks have no auxiliary head; set train.auxiliary to 0")
        kept = {int(row): list(names) for rows in genotype.choices.values() for row, names in rows.items()}
        operations = [kept[layer] for layer in LAYERS]
        return MobileNetwork(operations, shape.channels, shape.outputs, channels, min(shape.size))

    def everything(self, shape: ImageShape, *, channels: int | None = None, cells: int | None = None) -> Everything:
        """A network that keeps every candidate, and where they are; for counting."""
        check_dense(self, shape)
        with torch.device("meta"):
            operations, channels = _side_by_side(self.groups), _width(channels, cells)
            network = MobileNetwork(operations, shape.channels, shape.outputs, channels, min(shape.size))
        places = {
            f"layers.{int(row.name) - 1}.{name}": (group.name, index, column)
            for group in self.groups
            for index, row in enumerate(group.rows)
            for column, name in enumerate(row.candidates)
        }
        return Everything(network, places)

    def describe(self, genotype: Genotype) -> str:
        """The JSON form on one line: the papers draw their networks."""
        return json.dumps(genotype.to_dict())


def _side_by_side(groups: Sequence[ChoiceGroup]) -> list[list[str]]:
    """For each of the 19 layers all of its candidates."""
    rows = {int(row.name): row.candidates for group in groups for row in group.rows}
    return [list(rows[layer]) for layer in LAYERS]


def _width(channels: int | None, cells: int | None) -> int:
    if cells is not None:
        check_positive(cells=cells)
        raise Refused(f"mobile networks have {len(LAYERS)} layers, so cells (train.cells) does not apply; got {cells}")
    channels = 32 if channels is None else channels
    check_positive(channels=channels)
    return channels
