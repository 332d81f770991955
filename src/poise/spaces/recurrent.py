"""The recurrent cell of DARTS: how a language model turns its last hidden state and a word into the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from poise.errors import Refused
from poise.genotype import Genotype
from poise.notations import call
from poise.spaces.language import Noise
from poise.spaces.recurrent_network import RecurrentNetwork, RecurrentSupernet
from poise.spaces.space import SPACES, TextShape, check_choices, check_dense, check_positive
from poise.supernet.groups import ChoiceGroup, Row

CANDIDATES = ("none", "tanh", "relu", "sigmoid", "identity")

GROUP = "recurrent"

PUBLISHED_UNITS = 850
"""Of the network that is retrained."""

MOST_NODES = 50

SGD = {"learning_rate": 20.0, "final_learning_rate": 20.0, "momentum": 0.0, "clip": 0.25}
GENTLE = {**SGD, "learning_rate": 10.0, "final_learning_rate": 10.0}
"""For small models: with the published rate a clipped step is too long for them."""

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "space": {"units": 16, "nodes": 4, "noise": {"input": 0.2, "output": 0.2, "hidden": 0.1, "embedding": 0.1}},
        "search": {
            "epochs": 6,
            "batch_size": 16,
            "weights": {**GENTLE, "weight_decay": 5e-7},
            "alphas": {"learning_rate": 3e-3, "betas": [0.9, 0.999]},
            "text": {"sequence": 16, "words": 40_000},
        },
        "train": {
            "channels": 32, "epochs": 6, "batch_size": 16, "drop_path": 0.0, "auxiliary": 0.0,
            "weights": {**GENTLE, "weight_decay": 8e-7},
            "text": {"sequence": 16, "words": 80_000},
        },
    },
    "small": {
        "space": {"units": 64, "noise": {"input": 0.2, "output": 0.2, "hidden": 0.1, "embedding": 0.1}},
        "search": {
            "epochs": 8,
            "batch_size": 20,
            "weights": {**GENTLE, "weight_decay": 5e-7},
            "alphas": {"learning_rate": 3e-3, "betas": [0.9, 0.999]},
            "text": {"words": 150_000},
        },
        "train": {
            "channels": 128, "epochs": 12, "batch_size": 32, "drop_path": 0.0, "auxiliary": 0.0,
            "weights": {**GENTLE, "weight_decay": 8e-7},
        },
    },
    "paper": {
        "space": {"units": 300},
        "search": {
            "epochs": 50,
            "batch_size": 256,
            "weights": {**SGD, "weight_decay": 5e-7},
            "alphas": {"learning_rate": 3e-3, "betas": [0.9, 0.999]},
        },
        "train": {
            "channels": PUBLISHED_UNITS, "epochs": 3600, "batch_size": 64, "drop_path": 0.0, "auxiliary": 0.0,
            "weights": {**SGD, "weight_decay": 8e-7},
        },
    },
}  # fmt: skip


@SPACES.add("recurrent")
@dataclass(frozen=True)
class Recurrent:
    """The recurrent cell of DARTS, for text: 5 candidates between every two of its states (arXiv:1806.09055).

    A genotype keeps one predecessor and one activation per node; what several are kept of is added up.
    `poise.spaces.recurrent_cell` has the equations. The supernet has one cell, used at every time step: one layer.

    Args:
        units: of hidden state and embedding, in the supernet.
        nodes: of the cell; published 8.
        noise: dropouts and regularisers, of supernet and network.
    """

    units: int = 300
    nodes: int = 8
    noise: Noise = Noise()

    name: ClassVar[str] = "recurrent"
    shape: ClassVar[type] = TextShape
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __post_init__(self) -> None:
        check_positive(units=self.units, nodes=self.nodes)
        if self.nodes > MOST_NODES:
            raise Refused(f"nodes must be at most {MOST_NODES}, got {self.nodes}")

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(state, node): ``0->1, 0->2, 1->2, …``; state 0 is made of the word and the last hidden state."""
        return tuple((state, node) for node in range(1, self.nodes + 1) for state in range(node))

    @property
    def groups(self) -> tuple[ChoiceGroup, ...]:
        """One group ``recurrent``, a row for every two states, used by one layer."""
        rows = tuple(Row(f"{state}->{node}", CANDIDATES) for state, node in self.edges)
        starts = [node * (node - 1) // 2 for node in range(1, self.nodes + 1)]
        nodes = tuple(tuple(range(start, start + node)) for node, start in enumerate(starts, start=1))
        return (ChoiceGroup(GROUP, 1, rows, nodes, inputs=1, aligned=False, joined="mean"),)

    def supernet(self, shape: TextShape, groups: tuple[ChoiceGroup, ...] | None = None) -> RecurrentSupernet:
        """The supernet of `units`. Raises `Refused` for a single text: states are normalised over the texts."""
        check_dense(self, shape)
        if shape.texts < 2:
            raise Refused(
                "the recurrent supernet normalises over the texts of a batch; use search.batch_size 2 or more"
            )
        return RecurrentSupernet(groups or self.groups, shape, self.units, self.nodes, self.noise)

    def check(self, genotype: Genotype) -> None:
        """Any activations between any states, as long as the word reaches a node."""
        check_choices(genotype, self.name, self.groups)
        if not any(start == 0 for start, end in self.edges if genotype.choices[GROUP].get(f"{start}->{end}")):
            raise Refused("the recurrent cell of the genotype computes nothing: no node reads its input")

    def network(
        self,
        genotype: Genotype,
        shape: TextShape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        auxiliary: bool = False,
    ) -> RecurrentNetwork:
        """The language model to retrain; ``channels`` is its units, published 850. It has one cell and no second
        head."""
        self.check(genotype)
        check_dense(self, shape)
        units = PUBLISHED_UNITS if channels is None else channels
        check_positive(channels=units)
        if cells is not None:
            raise Refused(f"a recurrent network has one cell; leave train.cells out, got {cells}")
        if auxiliary:
            raise Refused("a recurrent network has no auxiliary head; set train.auxiliary to 0")
        rows = genotype.choices[GROUP]
        nodes = [
            [(name, state) for state in range(node) for name in rows.get(f"{state}->{node}", ())]
            for node in range(1, self.nodes + 1)
        ]
        return RecurrentNetwork(nodes, shape.vocabulary, units, self.noise)

    def describe(self, genotype: Genotype) -> str:
        """The paper's text."""
        return call.write(genotype, inputs=1, nodes=self.nodes)
