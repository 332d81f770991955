"""The largest network: of many random architectures the one with the most parameters, nothing trained, no image read.

In most spaces more parameters mean more accuracy, so what a search finds should be better than this.
"""

from __future__ import annotations

import time

import torch

from poise.bench.contestants.searching import network_of, random_genotype
from poise.bench.job import CONTESTANTS, Job
from poise.bench.result import Result
from poise.engine.checkpointer import RunControl
from poise.engine.events import Listener
from poise.engine.streams import stream
from poise.genotype import Genotype
from poise.workflow.prepare import Preparation


class Largest:
    """Of ``protocol.random_cells`` random architectures the first with the most parameters at the supernet's size."""

    selections = False

    def run(self, job: Job, listen: Listener, control: RunControl) -> list[Result]:
        """All at once: it takes seconds."""
        start = time.perf_counter()
        prepared = Preparation.of(job.settings("darts"))
        drawn = [
            random_genotype(prepared.space.name, prepared.groups, stream(job.seed, "random cell", number))
            for number in range(job.protocol.random_cells)
        ]
        largest = max(drawn, key=lambda genotype: _parameters(prepared, genotype))
        return [Result(job.contestant, "", job.seed, largest, {"search": time.perf_counter() - start})]

    def seconds(self, job: Job) -> float:
        """Building a network takes a few hundredths of a second."""
        return 0.05 * job.protocol.random_cells


def _parameters(prepared: Preparation, genotype: Genotype) -> int:
    shape = prepared.material.shape  # which may read data, unlike what follows
    with torch.device("meta"):
        network = network_of(prepared, genotype, shape)
    return sum(weight.numel() for weight in network.parameters())


CONTESTANTS.add("largest")(Largest())
