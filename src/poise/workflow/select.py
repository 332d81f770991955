"""Select a genotype from any saved supernet, with any rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from poise.config import RunSettings, resolve
from poise.config.resolve import read_yaml
from poise.engine.events import Listener, ignore
from poise.engine.run import RunFolder
from poise.engine.search import Searcher
from poise.errors import Refused, unknown
from poise.genotype import Genotype
from poise.selection.rule import SELECTIONS
from poise.spaces.space import SPACES
from poise.workflow.prepare import Preparation
from poise.workflow.search import choose, save_genotype
from poise.workflow.show import draw_run


@dataclass(frozen=True)
class Selected:
    """A genotype, and the files that hold it."""

    genotype: Genotype
    files: tuple[Path, ...]
    settings: RunSettings


def load_settings(folder: RunFolder, overrides: list[tuple[str, Any]], device: str | None = None) -> RunSettings:
    """The settings that a run was started with, with overrides.

    Raises `Refused` for a space that only exists in Python, which no folder can bring back.
    """
    config = folder.path / "config.yaml"
    space = read_yaml(config).get("space")
    name = space.get("name") if isinstance(space, dict) else space
    if name not in SPACES:
        raise Refused(
            f"{folder.path} searched {name!r}, a space that exists in Python only; use the result of poise.search"
        )
    return resolve(file=config, overrides=overrides, device=device)


def select(
    run: str | Path,
    rule: str | None = None,
    *,
    data: Any = None,
    settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    listen: Listener = ignore,
) -> Selected:
    """Select a genotype from the supernet of a saved run, whatever method trained it.

    It becomes the run's current genotype; the earlier one stays in ``genotype-<rule>.json``.

    Args:
        run: the run's folder.
        rule: ``magnitude``, ``threshold``, ``perturbation``; None: the method's own.
        data: where the data is now, if it has moved. Rules that go by the alphas alone read none.
        settings: dotted overrides, such as ``{"selection.tune_epochs": 1}``.
        device: to compute on.
        listen: called with every event.
    """
    folder = RunFolder.open(Path(run), "search")
    overrides = list((settings or {}).items())
    for name, _ in overrides:
        if name.removeprefix("method.").split(".")[0] not in ("selection", "search", "data", "seed", "precision"):
            raise Refused(
                f"{name} was settled when the supernet was trained; selecting reads selection, search and data"
            )
    if rule is not None:
        if rule not in SELECTIONS:
            raise unknown("selection", rule, SELECTIONS)
        overrides.insert(0, ("selection", rule))
    found = load_settings(folder, overrides, device)
    prepared = Preparation.of(found, data)
    shapes = {group.name: torch.empty(group.shape) for group in prepared.groups}
    alphas = folder.load_tensors("alphas.safetensors", shapes)

    def searcher() -> Searcher:
        supernet: Any = prepared.space.supernet(prepared.task)
        weights = folder.load_tensors("supernet.safetensors", supernet.state_dict())
        return prepared.searcher(alphas, weights)

    genotype = choose(prepared, alphas, searcher, listen)
    kind = prepared.method.selection.kind
    current = save_genotype(folder, genotype, kind)
    draw_run(folder, prepared.space, prepared.method.relaxation)
    return Selected(genotype, (current, folder.path / f"genotype-{kind}.json"), found)
