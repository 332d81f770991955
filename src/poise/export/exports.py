"""The export formats by name, and what every one of them does first: check the network and make it lean."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from poise import registries
from poise.errors import Refused
from poise.export.bundle import ours
from poise.export.card import Card
from poise.registry import Registry
from poise.spaces.space import ImageShape
from poise.supernet.trees import called


class Export(Protocol):
    """Writes a trained network to files and returns them.

    ``network`` maps images, float ``[batch, channels, height, width]``, to outputs ``[batch, ...]`` such as the card's
    shape gives them; every file says what the card does.
    ``path`` gets the format's ending unless it has it; folders are made, and only files of these names are replaced.
    """

    def __call__(self, network: nn.Module, path: Path, card: Card) -> list[Path]: ...


EXPORTS: Registry[Export] = registries.EXPORTS


@runtime_checkable
class Rebuildable(Protocol):
    """A module that says which literals it was constructed with: ``type(module)(**module.arguments)`` is its equal."""

    arguments: dict[str, object]


def inference_arguments(module: Rebuildable) -> dict[str, object]:
    """The module's constructor arguments, less the auxiliary head: that is for training only."""
    return {name: False if name == "auxiliary" else value for name, value in module.arguments.items()}


def lean(network: nn.Module, card: Card) -> nn.Module:
    """A copy for inference: on the CPU, in float32, in eval mode, without an auxiliary head.

    Raises:
        Refused: a name is no text, or the network's output does not fit the shape.
    """
    names, shape = card.seen.names, card.inputs.shape
    if any(type(name) is not str for name in names):
        raise Refused(f"an export's names must be texts, got {str(names)[:80]}")
    result = _without_auxiliary(network).cpu().float().eval()
    with torch.no_grad():
        outputs = called(result, shape.zeros(2))
    expected = (2, *shape.answer) if isinstance(shape, ImageShape) else None
    if not isinstance(outputs, Tensor) or (expected is not None and outputs.shape != expected):
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise Refused(f"the network must map 2 inputs to outputs {expected or 'in one tensor'}, got {got}")
    return result


def _without_auxiliary(module: nn.Module) -> nn.Module:
    if type(module) is nn.Sequential:
        children = {name: _without_auxiliary(child) for name, child in module.named_children()}
        result = nn.Sequential()
        for name, child in children.items():
            result.add_module(name, child)
        return result
    if ours(type(module).__module__) and isinstance(module, Rebuildable) and module.arguments.get("auxiliary"):
        rebuilt: nn.Module = type(module)(**inference_arguments(module))
        weights = module.state_dict()
        rebuilt.load_state_dict({name: weights[name] for name in rebuilt.state_dict()})
        return rebuilt
    return copy.deepcopy(module)


def target(path: Path, ending: str) -> Path:
    """``path`` with the ending (``.onnx``), its folder made. Raises `Refused` where it cannot be."""
    path = Path(path)
    if not path.name or "\0" in str(path):
        raise Refused(f"cannot write an export to {str(path)[:80]!r}: it is no file's name")
    path = path if path.suffix == ending else path.with_name(path.name + ending)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise Refused(f"cannot write {path}: a folder has that name")
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}") from None
    return path
