"""The export formats by name, and what every one of them does first: check the network and make it lean."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from poise import registries
from poise.data.pixels import Pixels
from poise.errors import Refused
from poise.export.bundle import ours
from poise.genotype import Genotype
from poise.registry import Registry
from poise.spaces.space import ImageShape


class Export(Protocol):
    """Writes a trained network to files and returns them.

    ``network`` maps images, float ``[batch, channels, height, width]``, to logits ``[batch, classes]``, where the shape
    is dense to ``[batch, classes, height, width]``; ``pixels`` says what their values are, and so must every file.
    ``path`` gets the format's ending unless it has it; folders are made, and only files of these names are replaced.
    """

    def __call__(
        self,
        network: nn.Module,
        path: Path,
        *,
        shape: ImageShape,
        genotype: Genotype,
        classes: tuple[str, ...],
        pixels: Pixels,
    ) -> list[Path]: ...


EXPORTS: Registry[Export] = registries.EXPORTS


@runtime_checkable
class Rebuildable(Protocol):
    """A module that says which literals it was constructed with: ``type(module)(**module.arguments)`` is its equal."""

    arguments: dict[str, object]


def inference_arguments(module: Rebuildable) -> dict[str, object]:
    """The module's constructor arguments, less the auxiliary head: that is for training only."""
    return {name: False if name == "auxiliary" else value for name, value in module.arguments.items()}


def input_facts(shape: ImageShape, pixels: Pixels) -> dict[str, Any]:
    """What an exported network takes, as JSON can hold it."""
    facts = {"layout": "NCHW", "dtype": "float32", "channels": shape.channels, "size": list(shape.size)}
    return facts | pixels.facts | {"text": input_text(shape, pixels)}


def input_text(shape: ImageShape, pixels: Pixels) -> str:
    """The same for a person, in one line."""
    height, width = shape.size
    return (
        f"[batch, {shape.channels}, {height}, {width}], channels first, float32: {pixels}; the network itself "
        "subtracts the mean and divides by the standard deviation"
    )


def lean(network: nn.Module, shape: ImageShape, classes: tuple[str, ...]) -> nn.Module:
    """A copy for inference: on the CPU, in float32, in eval mode, without an auxiliary head.

    Raises:
        Refused: the class names or the network's output do not fit the shape.
    """
    if any(type(name) is not str for name in classes):
        raise Refused(f"an export's class names must be texts, got {str(classes)[:80]}")
    if len(classes) != shape.outputs:
        raise Refused(f"an export needs one name for each of the {shape.outputs} classes, got {len(classes)}")
    result = _without_auxiliary(network).cpu().float().eval()
    with torch.no_grad():
        logits = result(torch.zeros(2, shape.channels, *shape.size))
    expected = (2, *shape.answer)
    if not isinstance(logits, Tensor) or logits.shape != expected:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise Refused(f"the network must map 2 images to logits {expected}, got {got}")
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
