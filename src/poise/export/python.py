"""One readable Python file that builds the network with torch alone, and its weights beside it: poise is not needed."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from torch import nn

from poise.data.pixels import Pixels
from poise.errors import Refused
from poise.export.bundle import Bundle, import_lines, ours
from poise.export.exports import EXPORTS, Rebuildable, inference_arguments, input_facts, input_text, lean, target
from poise.export.literals import literal, texts
from poise.export.safetensors import export_safetensors
from poise.genotype import Genotype
from poise.spaces.space import SPACES, ImageShape

TEMPLATE = '''\
"""An image classifier found by differentiable neural architecture search, as plain PyTorch.

Needs torch and safetensors; the weights are in the .safetensors file of the same name beside this file.

    network = load()
    probabilities = network(images).softmax(dim=1)

{takes}

`GENOTYPE` says which operations the search chose, `CLASSES` what the outputs mean, `IMAGE` the shape of an image,
`INPUT` what its values are: `unit` is what those of the training data were divided by, `range` what they then spanned.
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


if __name__ == "__main__":
    parameters = sum(weight.numel() for weight in load().parameters())
    print(GENOTYPE)
    print(f"{{parameters:,}} parameters, {{len(CLASSES)}} classes, images {{IMAGE}}")
'''

IMPORTS: set[tuple[str, str | None, str]] = {
    ("pathlib", "Path", "Path"),
    ("torch", "nn", "nn"),
    ("safetensors.torch", "load_file", "load_file"),
}
"""What the template itself uses."""

RESERVED = {"GENOTYPE", "CLASSES", "IMAGE", "INPUT", "build", "load", "Path", "nn", "load_file"}


@EXPORTS.add("python")
def export_python(
    network: nn.Module, path: Path, *, shape: ImageShape, genotype: Genotype, classes: tuple[str, ...], pixels: Pixels
) -> list[Path]:
    """``NAME.py`` with ``build()`` and ``load()``, and ``NAME.safetensors``.

    The classes of the network are carried along verbatim with all that they need, and nothing else: a table of
    operations holds those that the network uses. Raises `Refused` for a module of your own: you have its source.
    """
    network = lean(network, shape, classes)
    text = source_text(network, shape, genotype, classes, pixels)
    file = target(path, ".py")
    weights = export_safetensors(
        network, file.with_suffix(".safetensors"), shape=shape, genotype=genotype, classes=classes, pixels=pixels
    )
    file.write_text(text, encoding="utf-8")
    return [file, *weights]


def source_text(
    network: nn.Module, shape: ImageShape, genotype: Genotype, classes: tuple[str, ...], pixels: Pixels
) -> str:
    """The whole Python file."""
    parts = [module for module in _parts(network) if isinstance(module, Rebuildable)]
    bundle = Bundle(wanted={text for part in parts for text in texts(part.arguments)})
    for part in parts:
        bundle.add(type(part).__module__, type(part).__name__)
    definitions = "\n".join(
        "\n\n# From " + module.replace(".", "/") + ".py\n\n\n" + "\n\n\n".join(found)
        for module, found in bundle.definitions()
    )
    clash = sorted(RESERVED & {name for names in bundle.used.values() for name in names})
    if clash:
        raise Refused(f"cannot carry {clash[0]!r} along: the exported file uses this name itself")
    image = (shape.channels, *shape.size)
    constants: list[tuple[str, object]] = [
        ("GENOTYPE", notation(genotype)),
        ("CLASSES", tuple(classes)),
        ("IMAGE", image),
    ]
    constants += [("INPUT", input_facts(shape, pixels))]
    return TEMPLATE.format(
        takes=textwrap.fill(f"images: {input_text(shape, pixels)}.", 116),
        imports="\n".join(import_lines(bundle.imports | IMPORTS, sys.stdlib_module_names)),
        constants="\n".join(f"{name} = {literal(value, used=len(name) + 3)}" for name, value in constants),
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
