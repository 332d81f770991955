"""Put a trained network on the Hugging Face Hub: the files that it is loaded from, and a card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from torch import nn

from poise.config.reading import read_yaml
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.export.card import Taken
from poise.named import FROM_PYTHON
from poise.registries import METHODS, TASKS
from poise.report.model_card import SHOWN, ModelCard, of_test
from poise.report.style import save_figure
from poise.report.summary import drawing, headline
from poise.spaces.custom import ModuleSpace
from poise.spaces.sample_shape import Input
from poise.spaces.space import SPACES, ImageShape
from poise.tasks.task import Task, Trained
from poise.workflow.early import check_pushed
from poise.workflow.hub import PREFIX, explained
from poise.workflow.network import NETWORK_FILES, network_in
from poise.workflow.saved import settings_of

CARD, PICTURE, CONFIG = "README.md", "cells.png", "config.yaml"
BUNDLED = "digits"
POISE = "poise, differentiable neural architecture search"


def push(
    network: str | Path,
    repository: str,
    *,
    private: bool = False,
    message: str | None = None,
    licence: str | None = None,
    module: nn.Module | None = None,
    task: Task | None = None,
) -> str:
    """Put a trained network on the Hugging Face Hub, where `poise.load_network` finds it as ``hf:owner/name``.

    What goes there: weights as safetensors, what it takes to build the network, its history and results, its settings
    without any path, and a model card. No data and no code.

    Args:
        network: the folder of a trained network.
        repository: ``owner/name``; it is made if there is none.
        private: whether a repository that is made is private.
        message: of the commit.
        licence: the Hub's name of the network's licence, such as ``apache-2.0``; None: none is stated.
        module, task: for a network of a module or a task of your own: see `load_network`.

    Returns the address of the commit.

    Raises:
        Refused: the folder holds no network, the Hub cannot be reached, or does not let you write there.
    """
    check_pushed(network, repository, licence)
    trained = network_in(network, module, task, "push")
    content = contents(RunFolder(Path(network)), trained, repository, licence or "")
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if get_token() is None:
        raise Refused("you are not logged in to the Hub: hf auth login, or set HF_TOKEN")
    api = HfApi()
    with explained(repository):
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.create_commit(
            repository,
            [CommitOperationAdd(name, data) for name, data in content.items()],
            commit_message=message or "A network found by poise",
        )
    return str(done.commit_url)


def contents(folder: RunFolder, trained: Trained, repository: str, licence: str) -> dict[str, bytes]:
    """What is put there: name -> content."""
    found = {name: (folder.path / name).read_bytes() for name in NETWORK_FILES if folder.holding(name)}
    config = scrubbed(read_yaml(folder.path / CONFIG))
    found[CONFIG] = yaml.safe_dump(config, sort_keys=False).encode()
    figure = drawing(trained.genotype)
    if figure is not None:
        with TemporaryDirectory() as aside:
            _, png = save_figure(figure(), Path(aside), Path(PICTURE).stem)
            found[PICTURE] = png.read_bytes()
    card = _card(folder, trained, repository, licence, PICTURE if PICTURE in found else "")
    return found | {CARD: card.text().encode()}


def scrubbed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without what they say of a machine and of who works there: every path. Data in files is as data from
    Python, of which a configuration says nothing."""
    found = {name: _without_paths(value) for name, value in config.items()}
    source = str(config.get("data", {}).get("source", FROM_PYTHON))
    if isinstance(found.get("data"), dict):
        public = source.startswith(PREFIX) or source in (BUNDLED, FROM_PYTHON)
        found["data"]["source"] = source if public else FROM_PYTHON
    return found


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_paths(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_paths(inner) for inner in value]
    return None if isinstance(value, str) and ("/" in value or "\\" in value) else value


def _card(folder: RunFolder, trained: Any, repository: str, licence: str, picture: str) -> ModelCard:
    settings = settings_of(folder)
    genotype, about, result = trained.genotype, folder.read_json("network.json"), dict(trained.result)
    own = genotype.space == ModuleSpace.name
    space: Any = settings.space if own else SPACES[genotype.space]()
    source = settings.data.source
    dataset = source.removeprefix(PREFIX) if source.startswith(PREFIX) else ""
    inputs: Taken | None = getattr(trained, "inputs", None)
    kind, task = _kind(inputs), TASKS[name] if (name := about["task"]["name"]) in TASKS else None
    names = getattr(trained, "names", ())
    method = settings.method_name if settings.method_name in METHODS else ""
    cited = [f"{method}: {METHODS.value(method, 'citation')}"] if method else []
    listed = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")
    return ModelCard(
        repository=repository,
        title=repository.partition("/")[2],
        summary=f"A network of {trained.parameters:,} parameters for {name}, found by poise.",
        picture=picture,
        results=headline({"parameters": trained.parameters, **result}, trained.history),
        tested=bool(of_test(result)),
        metrics=of_test(result),
        space=genotype.space,
        method=method,
        genotype=space.describe(genotype),
        data=dataset or ("data given from Python" if source == FROM_PYTHON else Path(source).name),
        dataset=dataset,
        named=getattr(task, "named", ""),
        names=listed,
        takes=inputs.text if inputs else "",
        predicts=kind == "images" and not own,
        own=own,
        pipeline=getattr(task, "pipelines", {}).get(kind, ""),
        licence=licence,
        citations=[POISE, *cited],
    )


def _kind(inputs: Any) -> str:
    """``images``, ``rows`` of numbers, or empty for anything else."""
    if isinstance(inputs.shape if inputs else None, ImageShape):
        return "images"
    taken = inputs.shape.inputs if inputs else None
    return "rows" if isinstance(taken, Input) and len(taken.shape) == 1 else ""
