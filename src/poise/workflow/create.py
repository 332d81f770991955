"""Networks in the form that training code for timm expects: `create_model`. timm itself is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.custom import ModuleSpace
from poise.spaces.forms import network_of
from poise.spaces.space import SPACES, ImageShape
from poise.workflow.hub import fetched, on_hub
from poise.workflow.network import load_network
from poise.workflow.saved import settings_of

SIDE = 32
"""Of the images of a search whose settings do not say."""


class FeatureInfo(list[dict[str, Any]]):
    """For each resolution its channels, ``num_chs``, and by how much it is smaller than the image, ``reduction``."""

    def channels(self) -> list[int]:
        """Of each resolution."""
        return [each["num_chs"] for each in self]

    def reduction(self) -> list[int]:
        """Of each resolution."""
        return [each["reduction"] for each in self]


class ImageModel(nn.Module):
    """A network with its head apart, as timm's models have it.

    Args:
        network: one of a space for images, whose ``maps`` gives feature maps.
        shape: what it takes and gives.
        numbers: mean and standard deviation of each channel that its images are normalised by.
    """

    def __init__(self, network: Any, shape: ImageShape, numbers: tuple[Sequence[float], Sequence[float]]) -> None:
        super().__init__()
        head = network.classifier
        network.classifier = nn.Identity()
        if getattr(network, "auxiliary", None) is not None:
            network.auxiliary = None
        self.network = network
        self.num_features, self.num_classes = int(head.in_features), int(head.out_features)
        self.classifier: nn.Module = nn.Linear(self.num_features, self.num_classes)
        self.classifier.load_state_dict(head.state_dict())
        self.feature_info = feature_info(network, shape)
        self.pretrained_cfg = {
            "input_size": (shape.channels, *shape.size), "mean": tuple(numbers[0]), "std": tuple(numbers[1]),
            "num_classes": self.num_classes, "crop_pct": 1.0, "interpolation": "bilinear", "classifier": "classifier",
        }  # fmt: skip

    def forward_features(self, images: Tensor) -> Tensor:
        """Normalised images ``[batch, channels, height, width]`` to the last feature maps."""
        maps: list[Tensor] = self.network.maps(images)
        return maps[-1]

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature maps to logits ``[batch, classes]``, or to what the classifier goes by."""
        pooled = maps.mean(dim=(2, 3))
        return pooled if pre_logits else self.classifier(pooled)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new last layer for so many classes; of 0 there is none. Raises `Refused` for any other pooling than the
        mean."""
        if global_pool not in (None, "avg"):
            raise Refused(f"global_pool is {global_pool!r}; the networks of poise take the mean, 'avg'")
        self.num_classes = num_classes
        like = next(self.network.parameters())
        made = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self.classifier = made.to(like.device, like.dtype)


class Features(nn.Module):
    """A network as a backbone: normalised images to a list of feature maps, the finest first."""

    def __init__(self, network: Any, shape: ImageShape, indices: Sequence[int] | None) -> None:
        super().__init__()
        found = feature_info(network, shape)
        wrong = [index for index in indices or () if not -len(found) <= index < len(found)]
        if wrong:
            raise Refused(f"out_indices has {wrong[0]}, but there are {len(found)} resolutions: 0 to {len(found) - 1}")
        network.classifier = nn.Identity()
        if getattr(network, "auxiliary", None) is not None:
            network.auxiliary = None
        self.network = network
        self.indices = tuple(range(len(found)) if indices is None else indices)
        self.feature_info = FeatureInfo(found[index] for index in self.indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.network.maps(images)
        return [maps[index] for index in self.indices]


def create_model(
    what: str | Path,
    pretrained: bool = True,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
) -> ImageModel | Features:
    """A network that drops into training code for timm, in evaluation mode.

    It takes images that are normalised: by mean and standard deviation of ``pretrained_cfg``, as timm's data code does.

    Args:
        what: a trained network: its folder, or ``hf:owner/name``. The folder of a search, with ``pretrained=False``: a
            network of its genotype, as its settings for training say.
        pretrained: whether it has its trained weights, or fresh ones.
        num_classes: another number than it was trained for: the last layer is fresh; 0: there is none. Of a search
            it has to be said.
        in_chans: channels of an image; trained weights are for as many as they were trained on.
        features_only: give the feature maps of each resolution, as ``feature_info`` describes them.
        out_indices: of these, which; None: all.

    Raises:
        Refused: there is no such network, or it is none for images; weights are asked for that there are not.
    """
    if out_indices is not None and not features_only:
        raise Refused("out_indices is for features_only=True")
    path = fetched(what) if on_hub(what) else Path(what)
    search = RunFolder.kind_of(path) == "search"
    if search and pretrained:
        raise Refused(f"{what} is a search, which has no trained network: poise train {what}, or pretrained=False")
    network, shape, numbers = _of_search(path, num_classes, in_chans) if search else _of_training(what, path)
    if not search and in_chans not in (None, shape.channels):
        if pretrained:
            raise Refused(f"in_chans is {in_chans}, but {what} was trained on images of {shape.channels} channels")
        shape = replace(shape, channels=in_chans)
    if not search and not pretrained:
        network = _fresh(RunFolder(path), shape)
    if features_only:
        return Features(network, shape, out_indices).eval()
    if shape.dense:
        raise Refused(f"{what} answers for every pixel; of such networks there are features, with features_only=True")
    model = ImageModel(network, shape, numbers)
    if num_classes not in (None, model.num_classes):
        model.reset_classifier(int(num_classes or 0))
    return model.eval()


def feature_info(network: Any, shape: ImageShape) -> FeatureInfo:
    """What ``network.maps`` gives, found out with one black image."""
    training = network.training
    with torch.no_grad():
        maps = network.eval().maps(shape.zeros(1).to(next(network.parameters())))
    network.train(training)
    side = min(shape.size)
    return FeatureInfo(
        {"num_chs": each.shape[1], "reduction": round(side / min(each.shape[2:])), "module": f"maps.{index}"}
        for index, each in enumerate(maps)
    )


Parts = tuple[Any, ImageShape, tuple[Sequence[float], Sequence[float]]]
"""A network, what it takes and gives, and what its images are normalised by."""


def _of_training(what: str | Path, path: Path) -> Parts:
    _check_space(RunFolder(path).genotype(), what)
    trained: Any = load_network(path)
    if not hasattr(trained.network, "maps"):
        raise Refused(f"{what} is no network for images that has feature maps")
    return trained.network, trained.shape, (trained.inputs.pixels.mean, trained.inputs.pixels.std)


def _of_search(path: Path, num_classes: int | None, in_chans: int | None) -> Parts:
    folder = RunFolder.open(path, "search")
    genotype = folder.genotype()
    _check_space(genotype, path)
    if num_classes is None:
        raise Refused(f"{path} is a search: say for how many classes its network is to be, num_classes=")
    settings = settings_of(folder)
    side, form = settings.data.size or SIDE, settings.train
    shape = ImageShape(3 if in_chans is None else in_chans, (side, side), num_classes or 1)
    network = network_of(
        settings.space, genotype, shape, form=form.form, channels=form.channels, cells=form.cells, auxiliary=False
    )
    return network, shape, ((0.0,) * shape.channels, (1.0,) * shape.channels)


def _fresh(folder: RunFolder, shape: ImageShape) -> nn.Module:
    genotype, about = folder.genotype(), folder.read_json("network.json")
    form = {name: about[name] for name in ("form", "channels", "cells")}
    return network_of(SPACES[genotype.space](), genotype, shape, auxiliary=False, **form)


def _check_space(genotype: Genotype, what: str | Path) -> None:
    if genotype.space == ModuleSpace.name:
        raise Refused(f"{what} is of a module of your own, which is a model already: poise.load_network(...).network")
