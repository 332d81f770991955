"""Small networks of every kind, with batch statistics that are not trivial."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from poise.data.labels import Seen
from poise.data.pixels import Pixels
from poise.export.card import Card
from poise.export.normalise import Normalise
from poise.genotype import Genotype
from poise.spaces.space import SPACES, ImageShape
from poise.tasks.classification import Classification
from poise.tasks.images import ImageInputs
from poise.tasks.regression import Regression
from poise.tasks.task import task_facts

TASK = ImageShape(channels=3, size=(16, 16), outputs=4)
PIXELS = Pixels("RGB", 255.0, 0.0, 1.0, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
DENSE = ImageShape(channels=3, size=(16, 16), outputs=4, dense=True)
NASTY = ("it's", 'say "hi"', 'new\nline """ + \\', "{brace} 猫")
"""Four class names that would break a file into which they were pasted."""

DARTS = Genotype.parse(
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('max_pool_3x3', 0), ('dil_conv_3x3', 2),"
    "('sep_conv_5x5', 1), ('avg_pool_3x3', 0), ('skip_connect', 0), ('dil_conv_5x5', 4)],"
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),"
    "('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)])"
)
FAIR = Genotype(
    "darts",
    {
        # node 3 has no input, so 3->5 is dead; two operations on 0->2
        "normal": {"0->2": ("sep_conv_3x3", "skip_connect"), "2->4": ("dil_conv_3x3",), "3->5": ("sep_conv_3x3",)},
        "reduce": {"0->2": ("max_pool_3x3",), "1->3": ("skip_connect", "sep_conv_5x5")},
    },
)
BENCH = Genotype.parse(
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|", "nasbench201"
)
SHOT = Genotype.parse(  # vertices of 2, 1, 1 and 1 channels: two edges take the first channel of two
    "010110001101000010000001000001000000 input,conv3x3-bn-relu,maxpool3x3,conv1x1-bn-relu,conv3x3-bn-relu,output"
)
MOBILE = Genotype(
    "mobile",
    {
        "first": dict.fromkeys(("1", "3", "7", "11", "15", "19"), ("mb_conv_5x5_e3",)),
        "rest": {
            str(row): ("mb_conv_3x3_e6",) if row in (2, 5) else ("skip_connect",)
            for row in (2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18)
        },
    },
)
GENOTYPES = {"darts": DARTS, "fair": FAIR, "nasbench201": BENCH, "nasbench1shot1": SHOT, "mobile": MOBILE}


MOST = 250


def shares(mask: torch.Tensor, names: tuple[str, ...]) -> dict[str, float]:
    return {name: float((mask == index).float().mean()) for index, name in enumerate(names)}


@dataclass(frozen=True)
class Marks:
    """A task as one that exports carry along: of every pixel, whether its first number is above the mean."""

    offset: int = 0

    name: ClassVar[str] = "marks"

    def predictions(self, outputs: torch.Tensor, seen: Seen) -> list[dict[str, Any]]:
        masks = ((outputs[:, 0] > outputs[:, 0].mean()) + self.offset).clamp(max=MOST).to(torch.uint8)
        return [{"mask": mask, "shares": shares(mask, seen.names)} for mask in masks]


def card(genotype: Genotype, names: tuple[str, ...] = NASTY, shape: ImageShape = TASK, task: Any = None) -> Card:
    """What such a network says of itself."""
    task, statistics = task or Classification(), {"count": (5.0,) * len(names)}
    if isinstance(task, Regression):
        statistics = {"mean": (100.0, -3.0, 0.0, 1e3), "std": (10.0, 0.5, 1.0, 2.0)}
    return Card(task, task_facts(task), Seen(names, statistics), ImageInputs(shape, PIXELS), genotype)


def network(genotype: Genotype, auxiliary: bool = False, shape: ImageShape = TASK) -> nn.Module:
    """A normalised network of the genotype in eval mode, every parameter and statistic random."""
    torch.manual_seed(0)
    cells = {"nasbench201": 1, "mobile": None}.get(genotype.space, 3)
    found = SPACES[genotype.space]().network(genotype, shape, channels=4, cells=cells, auxiliary=auxiliary)
    for layer in found.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.3, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.3, 0.3)
    return nn.Sequential(Normalise(PIXELS.mean, PIXELS.std), found).eval()


def images(batch: int) -> torch.Tensor:
    return torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(batch))
