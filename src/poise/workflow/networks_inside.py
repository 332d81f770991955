"""The networks that were trained in a search's folder, and whether they are of the genotype that it holds now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from poise.engine.events import Listener, Noted
from poise.engine.run import RunFolder, read_genotype
from poise.errors import Refused
from poise.genotype import Genotype


@dataclass(frozen=True)
class Inside:
    """A training in a folder of the run's.

    Args:
        name: of its folder, such as ``net``.
        genotype: what it trains.
        current: whether that is the run's genotype now.
        chosen_by: in words, the selection that chose it.
    """

    name: str
    genotype: Genotype
    current: bool
    chosen_by: str


def trainings_in(folder: RunFolder) -> list[Inside]:
    """What was trained in the run's folder; what cannot be read is passed over."""
    now = folder.genotype()
    found = []
    for path in sorted(path for path in folder.path.iterdir() if path.is_dir()):
        try:
            if RunFolder.kind_of(path) != "train":
                continue
            genotype = RunFolder(path).genotype()
        except Refused:
            continue
        found.append(Inside(path.name, genotype, genotype == now, chosen_by(folder, genotype)))
    return found


def chosen_by(folder: RunFolder, genotype: Genotype) -> str:
    """Which selections of the run chose a genotype, as far as the run still says."""
    rules = list(_rules(folder, genotype))
    return f"chosen by {' and '.join(rules)}" if rules else "which no selection of this run holds now"


def _rules(folder: RunFolder, genotype: Genotype) -> Iterator[str]:
    for path in sorted(folder.path.glob("genotype-*.json")):
        try:
            if read_genotype(path) == genotype:
                yield path.stem.removeprefix("genotype-")
        except Refused:
            continue


def note_trainings(folder: RunFolder, listen: Listener) -> None:
    """Say which trained networks in the folder are of another genotype than the one that was chosen just now."""
    for training in trainings_in(folder):
        if not training.current:
            place = "" if training.name == "net" else f" --out {folder.path / training.name}"
            listen(
                Noted(
                    f"{folder.path / training.name} still holds the network of another genotype, {training.chosen_by}; "
                    f"to have that of the new one, train again: poise train {folder.path} --overwrite{place}"
                )
            )


def superseded(network: RunFolder) -> str | None:
    """What to know of a trained network in a search's folder that now holds another genotype; None: nothing."""
    run = RunFolder(network.path.absolute().parent)
    try:
        if RunFolder.kind_of(run.path) != "search":
            return None
        genotype, now = network.genotype(), run.genotype()
    except Refused:
        return None
    if genotype == now:
        return None
    return (
        f"this network is of a genotype {chosen_by(run, genotype)}; {run.path} holds another one now, which is trained "
        f"by: poise train {run.path} --overwrite"
    )
