"""Random search: random architectures, each trained for a few epochs; the best on the search half wins.

It knows the halves that a search knows, and uses them the same way: one trains, the other judges.
"""

from __future__ import annotations

import json
import time
from typing import Any

from poise.bench.contestants.searching import network_of, random_genotype
from poise.bench.job import CONTESTANTS, Job
from poise.bench.result import Result, compact
from poise.data.batches import Batches
from poise.engine.checkpoint import write_durably
from poise.engine.checkpointer import RunControl
from poise.engine.events import Listener, Started, Stepped, ignore
from poise.engine.settings import RetrainWeightSettings, TrainSettings
from poise.engine.streams import seed_of, seeded, stream
from poise.engine.train import evaluate, train
from poise.errors import Refused, Stopped
from poise.genotype import Genotype
from poise.workflow.prepare import Preparation


class RandomSearch:
    """``protocol.random_cells`` networks of the supernet's size, trained for ``protocol.random_epochs`` epochs each."""

    selections = False

    def run(self, job: Job, listen: Listener, control: RunControl) -> list[Result]:
        """Go on after the last network that was measured."""
        path = job.folder / "measured.json"
        measured: list[list[Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        prepared = Preparation.of(job.settings("darts"))
        listen(Started("random", job.protocol.random_cells, len(measured)))
        for number in range(len(measured), job.protocol.random_cells):
            if control.asked():
                raise Stopped(job.folder)
            start = time.perf_counter()
            genotype = random_genotype(prepared.space.name, prepared.groups, stream(job.seed, "random cell", number))
            accuracy = _accuracy(prepared, genotype, job.protocol.random_epochs, number)
            measured.append([compact(genotype), accuracy, time.perf_counter() - start])
            write_durably(path, json.dumps(measured).encode("utf-8"))
            listen(Stepped("random", number + 1))
        trace: list[dict[str, Any]] = []
        best, spent = -1.0, 0.0
        for text, accuracy, seconds in measured:
            spent += seconds
            chosen = text if accuracy > best else trace[-1]["genotype"]
            best = max(best, accuracy)
            trace.append({"seconds": spent, "genotype": chosen, "accuracy": best})
        found = Genotype.parse(trace[-1]["genotype"])
        return [Result(job.contestant, "", job.seed, found, {"search": spent}, trace=trace)]

    def seconds(self, job: Job) -> float:
        """One network for one epoch, times all of them."""
        prepared = Preparation.of(job.settings("darts"))
        genotype = random_genotype(prepared.space.name, prepared.groups, stream(job.seed, "random cell", 0))
        prepared.material.batches  # noqa: B018 - loads the data
        start = time.perf_counter()
        _accuracy(prepared, genotype, 1, 0)
        return (time.perf_counter() - start) * job.protocol.random_epochs * job.protocol.random_cells


def _accuracy(prepared: Preparation, genotype: Genotype, epochs: int, number: int) -> float:
    """On the search half, after some epochs on the training half."""
    settings, place = prepared.settings, prepared.place
    training, searching = prepared.material.batches
    if not (isinstance(training, Batches) and isinstance(searching, Batches)):
        raise Refused(f"random search trains networks for images; space {prepared.space.name!r} is for text")
    seed = seed_of(settings.seed, "random network", number)
    with seeded(seed, place.device):
        network = network_of(prepared, genotype, prepared.material.shape)
    weights = settings.search.weights.model_dump() | {"final_learning_rate": 0.0}
    form = TrainSettings(
        epochs=epochs, batch_size=training.batch_size, drop_path=0.0, auxiliary=0.0,
        weights=RetrainWeightSettings(**weights),
    )  # fmt: skip
    train(network, form, training, place, seed, ignore)
    return evaluate(network, searching, place)["accuracy"]


CONTESTANTS.add("random")(RandomSearch())
