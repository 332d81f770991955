"""A retrained network: as a value, and in its folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from poise.config.settings import RunSettings
from poise.data.pixels import Pixels
from poise.engine.run import RunFolder
from poise.engine.unsaved import Output
from poise.errors import Refused
from poise.export.normalise import Normalise
from poise.genotype import Genotype
from poise.report.summary import Summarised, Summary, epochs, listed, measured
from poise.spaces.custom import ModuleSpace
from poise.spaces.forms import network_of
from poise.spaces.space import SPACES, Space, Task, TextTask, channels_last, has_heads, task_kind
from poise.workflow.language import TrainedLanguageModel, load_language
from poise.workflow.saved import check_unused, own_space
from poise.workflow.show import draw_training, drawing


@dataclass(frozen=True, repr=False)
class TrainedNetwork(Summarised):
    """A retrained network, and what is needed to use it; printed, a summary of it.

    ``network`` takes normalised images; `complete` takes images as ``pixels`` says.
    """

    network: nn.Module
    genotype: Genotype
    task: Task
    classes: tuple[str, ...]
    pixels: Pixels
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, float]
    folder: Path | None
    streamed: bool = False
    """Whether it saw streamed images, so that tests show it their middles."""
    channels_last: bool = True
    """How the images lay that it saw."""

    def summary(self) -> Summary:
        """What it measures, takes and gives, and what to do next."""
        rows = [
            *measured({"parameters": self.parameters, **self.result}),
            ("classes", listed(self.classes)),
            ("images", f"{self.task.channels} × {self.task.size[0]} × {self.task.size[1]}"),
            ("folder", "not saved" if self.folder is None else str(self.folder)),
            ("next", "poise.evaluate(network, data), poise.export(network, 'onnx')"),
        ]
        title = f"A network of space {self.genotype.space}, trained for {epochs(len(self.history))}"
        return Summary(title, rows, drawing(self.genotype))

    @property
    def complete(self) -> nn.Module:
        """Normalisation and network: images ``[batch, channels, height, width]`` -> logits ``[batch, classes]``.

        Their values are those of the training data divided by ``pixels.unit``: in 0..1 where these were 8-bit values,
        else as they were.
        """
        return nn.Sequential(
            Normalise(self.pixels.mean, self.pixels.std), copy.deepcopy(self.network).cpu().float()
        ).eval()

    @property
    def parameters(self) -> int:
        """Parameters in use after training: the auxiliary head is not counted."""
        aside = "auxiliary." if has_heads(self.network) else None
        weights = self.network.named_parameters()
        return sum(weight.numel() for name, weight in weights if aside is None or not name.startswith(aside))


def save_network(output: Output, trained: TrainedNetwork, space: Space, settings: RunSettings) -> None:
    """Write a network, and what it takes to build it and to use it."""
    form = settings.train
    about = {
        "space": space.name,
        "form": form.form,
        "channels": form.channels,
        "cells": form.cells,
        "auxiliary": form.auxiliary > 0,
        "image_channels": trained.task.channels,
        "image_size": list(trained.task.size),
        "classes": list(trained.classes),
        **trained.pixels.facts,
        "streamed": trained.streamed,
    }
    output.save_tensors("network.safetensors", trained.network.state_dict())
    output.write("network.json", json.dumps(about, indent=2))
    draw_training(output)


def load_network(run: str | Path, module: nn.Module | None = None) -> TrainedNetwork | TrainedLanguageModel:
    """A network that `train` saved.

    Args:
        run: its folder.
        module: for a network of a module of your own: that module, as it was given to `poise.search`. It stays as it
            is.

    Raises:
        Refused: the folder holds no network, or a damaged one; the module is missing, or does not fit.
    """
    return network_in(Path(run), module, "load_network")


def network_in(run: Path, module: object, call: str) -> TrainedNetwork | TrainedLanguageModel:
    """`load_network` for ``poise.<call>``, which takes the module too."""
    folder = RunFolder.open(run, "train")
    name = folder.genotype().space
    if name == ModuleSpace.name:
        return read_network(folder, own_space(run, module, call))
    check_unused(module, f"{run} is one of space {name!r}")
    return read_network(folder, SPACES[name]())


def read_network(folder: RunFolder, space: Space) -> TrainedNetwork | TrainedLanguageModel:
    """The network of this space that the folder holds."""
    about, genotype = folder.read_json("network.json"), folder.genotype()
    if task_kind(space) is TextTask:
        return load_language(folder)
    try:
        task = Task(
            int(about["image_channels"]),
            (int(about["image_size"][0]), int(about["image_size"][1])),
            len(about["classes"]),
        )
        classes = tuple(str(name) for name in about["classes"])
        pixels = Pixels.read(about)
        form = {"channels": about["channels"], "cells": about["cells"], "auxiliary": bool(about["auxiliary"])}
        named, streamed = about.get("form"), bool(about.get("streamed", False))  # older networks have neither
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise Refused(f"{folder.path / 'network.json'} is damaged: it does not describe a network") from None
    try:
        network = network_of(space, genotype, task, form=named, **form)
    except Refused as error:
        if not isinstance(space, ModuleSpace):
            raise
        raise Refused(f"module= is not the module of {folder.path}: {error}") from None
    network.load_state_dict(folder.load_tensors("network.safetensors", network.state_dict()))
    result = folder.read_json("result.json") if (folder.path / "result.json").is_file() else {}
    history = folder.history()
    return TrainedNetwork(
        network.eval(), genotype, task, classes, pixels, history, result, folder.path, streamed, channels_last(space)
    )
