"""One readable Python file that builds the network with torch alone, and its weights beside it: poise is not needed."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from torch import nn

from poise.errors import Refused
from poise.export.bundle import Bundle, import_lines, ours
from poise.export.card import Card
from poise.export.exports import EXPORTS, Rebuildable, inference_arguments, lean, target
from poise.export.literals import literal, texts
from poise.export.safetensors import export_safetensors
from poise.genotype import Genotype
from poise.spaces.space import SPACES, ImageShape

TEMPLATE = '''\
"""A network for {task}, found by differentiable neural architecture search, as plain PyTorch.

Needs torch and safetensors; the weights are in the .safetensors file of the same name beside this file.

    for found in predict(images):
        print(found)
    outputs = load()(images)

{takes}

{gives}

`GENOTYPE` says which operations the search chose, `TASK` what the network is for, `LABELS` what its outputs are called
and what is known of the labels that it was trained on, `IMAGE` the shape of an image, `INPUT` what its values are:
`unit` is what those of the training data were divided by, `range` what they then spanned.
"""

from __future__ import annotations

{imports}

{constants}
{definitions}


# The network


def build() -> nn.Module:
    """The network with fresh weights."""
    return {construction}


def load(path: str | Path = Path(__file__).with_suffix(".safetensors")) -> nn.Module:
    """The trained network, ready for inference."""
    network = build()
    network.load_state_dict(load_file(path))
    return network.eval()


def predict(images: torch.Tensor, network: nn.Module | None = None) -> list[dict[str, Any]]:
    """What the network, by default the trained one, says of each image. 8-bit values are divided by 255 first."""
    network = load() if network is None else network
    task, seen = SimpleNamespace(**TASK), SimpleNamespace(**LABELS)
    found = []
    with torch.no_grad():
        for part in images.split(256):
            found += predictions(task, network(part / 255 if part.dtype == torch.uint8 else part), seen)
    return found


{predictions}


if __name__ == "__main__":
    parameters = sum(weight.numel() for weight in load().parameters())
    print(GENOTYPE)
    print(f"{{parameters:,}} parameters, {{TASK['name']}} of {{len(LABELS['names'])}}, images {{IMAGE}}")
'''

IMPORTS: set[tuple[str, str | None, str]] = {
    ("pathlib", "Path", "Path"),
    ("types", "SimpleNamespace", "SimpleNamespace"),
    ("typing", "Any", "Any"),
    ("torch", None, "torch"),
    ("torch", "nn", "nn"),
    ("safetensors.torch", "load_file", "load_file"),
}
"""What the template itself uses."""

CONSTANTS = ("GENOTYPE", "TASK", "LABELS", "IMAGE", "INPUT")
RESERVED = {*CONSTANTS, "build", "load", "predict", "predictions", *(local for _, _, local in IMPORTS)}


@EXPORTS.add("python")
def export_python(network: nn.Module, path: Path, card: Card) -> list[Path]:
    """``NAME.py`` with ``build()``, ``load()`` and ``predict()``, and ``NAME.safetensors``.

    The classes of the network are carried along verbatim with all that they need, and nothing else: a table of
    operations holds those that the network uses. So is what the task makes of the outputs. Raises `Refused` for a
    module of your own: you have its source.
    """
    if not isinstance(card.inputs.shape, ImageShape):
        raise Refused("a module of your own is not exported to python: you have its source; use onnx or safetensors")
    network = lean(network, card)
    text = source_text(network, card)
    file = target(path, ".py")
    weights = export_safetensors(network, file.with_suffix(".safetensors"), card)
    file.write_text(text, encoding="utf-8")
    return [file, *weights]


def source_text(network: nn.Module, card: Card) -> str:
    """The whole Python file."""
    shape = card.inputs.shape
    assert isinstance(shape, ImageShape)
    parts = [module for module in _parts(network) if isinstance(module, Rebuildable)]
    bundle = Bundle(wanted={text for part in parts for text in texts(part.arguments)})
    for part in parts:
        bundle.add(type(part).__module__, type(part).__name__)
    answers = bundle.add_method(card.task, "predictions", card.facts)
    definitions = "\n".join(
        "\n\n# From " + module.replace(".", "/") + ".py\n\n\n" + "\n\n\n".join(found)
        for module, found in bundle.definitions()
    )
    clash = sorted(RESERVED & {name for names in bundle.used.values() for name in names})
    if clash:
        raise Refused(f"cannot carry {clash[0]!r} along: the exported file uses this name itself")
    labels = {"names": card.seen.names, "statistics": dict(card.seen.statistics)}
    values = notation(card.genotype), dict(card.facts), labels, (shape.channels, *shape.size), card.takes
    constants = dict(zip(CONSTANTS, values, strict=True))
    return TEMPLATE.format(
        task=card.facts["name"],
        takes=textwrap.fill(f"images: {card.inputs.text}.", 116),
        gives=textwrap.fill(f"{card.output_text}.", 116),
        imports="\n".join(import_lines(bundle.imports | IMPORTS, sys.stdlib_module_names)),
        constants="\n".join(f"{name} = {literal(value, used=len(name) + 3)}" for name, value in constants.items()),
        predictions=answers,
        definitions=definitions,
        construction=construction(network, 4),
    )


def notation(genotype: Genotype) -> str:
    """The genotype in its paper's notation; its JSON where the space is not one of poise's."""
    if genotype.space not in SPACES:
        return genotype.to_json()
    space = SPACES[genotype.space]()
    space.check(genotype)
    return space.describe(genotype)


def construction(module: nn.Module, indent: int = 0) -> str:
    """The expression that constructs a module."""
    inner = " " * (indent + 4)
    if isinstance(module, Rebuildable):
        name = type(module).__name__
        entries = [
            f"{argument}={literal(value, indent + 4, len(argument) + 2)}"
            for argument, value in inference_arguments(module).items()
        ]
    else:
        name, entries = "nn.Sequential", [construction(child, indent + 4) for child in module.children()]
    return f"{name}(\n" + "".join(f"{inner}{entry},\n" for entry in entries) + " " * indent + ")"


def _parts(module: nn.Module) -> list[nn.Module]:
    """The modules that a network is put together from, less the `nn.Sequential` around them."""
    kind = type(module)
    children = dict(module.named_children())
    if kind is nn.Sequential and list(children) == [str(index) for index in range(len(children))]:
        return [part for child in children.values() for part in _parts(child)]
    if ours(kind.__module__) and isinstance(module, Rebuildable):
        return [module]
    raise Refused(
        f"a {kind.__name__} ({kind.__module__}) cannot be written as a Python file: only poise's own networks can; "
        "of a module of your own you have the source, so export its weights with 'safetensors' or the whole with 'onnx'"
    )
