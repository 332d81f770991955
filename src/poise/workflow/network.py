"""A retrained network in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from poise.config.settings import RunSettings
from poise.engine.run import RunFolder
from poise.engine.unsaved import Output
from poise.spaces.custom import ModuleSpace
from poise.spaces.space import SPACES
from poise.tasks.task import Trained, task_from
from poise.workflow.saved import check_unused, own_space
from poise.workflow.show import draw_training


def save_network(output: Output, trained: Trained, settings: RunSettings) -> None:
    """Write a network, and what it takes to build it and to use it."""
    output.save_tensors("network.safetensors", trained.network.state_dict())
    output.write("network.json", json.dumps(trained.facts(settings), indent=2))
    draw_training(output)


def load_network(run: str | Path, module: nn.Module | None = None) -> Trained:
    """A network that `train` saved.

    Args:
        run: its folder.
        module: for a network of a module of your own: that module, as it was given to `poise.search`. It stays as it
            is.

    Raises:
        Refused: the folder holds no network, or a damaged one; the module is missing, or does not fit.
    """
    return network_in(Path(run), module, "load_network")


def network_in(run: Path, module: object, call: str) -> Trained:
    """`load_network` for ``poise.<call>``, which takes the module too."""
    folder = RunFolder.open(run, "train")
    name = folder.genotype().space
    task = task_from(folder.read_json("network.json").get("task"), run / "network.json")
    if name == ModuleSpace.name:
        return task.load(folder, own_space(run, module, call))
    check_unused(module, f"{run} is one of space {name!r}")
    return task.load(folder, SPACES[name]())
