"""A retrained network in its folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from poise.config.settings import RunSettings
from poise.engine.run import RunFolder
from poise.engine.unsaved import Output
from poise.spaces.custom import ModuleSpace
from poise.spaces.space import SPACES
from poise.tasks.task import Supply, Task, Trained, task_from
from poise.workflow.hub import MORE, NEEDED, fetched, on_hub
from poise.workflow.saved import check_unused, own_space, own_task
from poise.workflow.show import draw_training

NETWORK_FILES = NEEDED + MORE
"""All that `load_network` reads."""
USED_FILES = (*NETWORK_FILES, "config.yaml")
"""All that a person needs who evaluates it as well."""


def save_network(output: Output, trained: Trained, settings: RunSettings, supply: Supply) -> None:
    """Write a network, what it takes to build it and to use it, and how many inputs it is tested on."""
    output.save_tensors("network.safetensors", trained.network.state_dict())
    tested = getattr(supply, "tested", None)
    more = {} if tested is None else {"tested": len(tested)}
    output.write("network.json", json.dumps(trained.facts(settings) | more, indent=2))
    draw_training(output)


def load_network(run: str | Path, module: nn.Module | None = None, task: Task | None = None) -> Trained:
    """A network that `train` saved, or `push` put on the Hugging Face Hub.

    Args:
        run: its folder; or ``hf:owner/name``, perhaps with a branch, tag or commit: ``hf:owner/name@v1``.
        module: for a network of a module of your own: that module, as it was given to `poise.search`. It stays as it
            is.
        task: of a network for a task of your own: that task, likewise.

    Raises:
        Refused: the folder holds no network, or a damaged one; the module is missing, or does not fit.
    """
    return network_in(run, module, task, "load_network")


def network_in(what: Any, module: object, task: object, call: str) -> Trained:
    """`load_network` for ``poise.<call>``, which takes module and task too; ``what`` may also be a network."""
    if not isinstance(what, str | Path):
        check_unused(module, "a network that is no folder has its own", task)
        found: Trained = what
        return found
    if on_hub(what):
        there: Any = network_in(fetched(what), module, task, call)
        return cast(Trained, replace(there, folder=None))  # a cache, where nothing else is put
    run = Path(what)
    folder = RunFolder.open(run, "train")
    name = folder.genotype().space
    saved = task_from(folder.read_json("network.json").get("task"), run / "network.json")
    ready = own_task(run, saved, task, call)
    if name == ModuleSpace.name:
        return ready.load(folder, own_space(run, module, call))
    check_unused(module, f"{run} is one of space {name!r}")
    return ready.load(folder, SPACES[name]())
