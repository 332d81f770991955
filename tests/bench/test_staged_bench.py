"""A contestant that searches in stages: its epochs, its own rule with its own settings, its ranking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from poise.bench.job import CONTESTANTS, Job
from poise.bench.protocol import SMOKE
from poise.bench.result import compact
from poise.engine.checkpointer import RunControl
from poise.engine.events import ignore
from poise.engine.run import RunFolder
from poise.genotype import Genotype
from poise.workflow.select import select


def test_a_search_in_stages_takes_part(tmp_path: Path) -> None:
    settings = {**SMOKE.settings, "search.epochs": 3, "search.diagnostics": ()}
    protocol = replace(SMOKE, settings=settings, ranked_cells=200, ranked_batches=1)
    name = "p-darts:curriculum.deeper=[0,0,1]:selection.skips=0"
    job = Job(protocol, name, 0, ("own", "magnitude"), "digits", "cpu", "32", tmp_path)
    own, magnitude = CONTESTANTS["search"].run(job, ignore, RunControl())
    assert own.genotype == magnitude.genotype, "the method's own rule has the method's settings"
    assert not any("skip_connect" in names for names in own.genotype.choices["cell"].values())
    assert own.genotype == select(tmp_path / "search").genotype
    assert [record["stage"] for record in own.epochs] == [0, 1, 2]
    assert own.epochs[-1]["genotype"] == compact(own.genotype)
    assert not any("skip_connect" in record["genotype"] for record in own.epochs)

    left = RunFolder(tmp_path / "search").read_json("stage.json")["narrowing"]["cell"]
    assert all(len(names) == 3 for names in left.values())
    assert 0 < len(own.ranking) < 200, "architectures that the last stage no longer holds are left out"
    for text, _, _ in own.ranking:
        for row, names in Genotype.parse(text).choices["cell"].items():
            assert set(names) <= set(left[row])
