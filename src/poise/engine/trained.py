"""A trained supernet as selection rules see it: it can be measured and tuned, and stays as it was."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from poise.engine.events import EpochEnded, Listener, Noted, Started, ignore
from poise.engine.loss import BatchLoss
from poise.engine.search import Searcher, cosine
from poise.engine.streams import seed_of, stream
from poise.methods.slots import Progress
from poise.selection.edits import Edits
from poise.selection.rule import Score
from poise.spaces.space import Space, genotype_of
from poise.errors import Refused
from poise.supernet.groups import Kept, expand

TUNING_SHARE = 0.1
"""Tuning starts at this share of the search's learning rate, as in DARTS-PT."""


class TrainedSupernet:
    """A searcher after its search. Satisfies `poise.selection.rule.Trained`.

    Tuning works on a copy: the searcher that was given is left untouched.
    """

    def __init__(self, searcher: Searcher, space: Space, seed: int, listen: Listener = ignore) -> None:
        self._searcher = searcher
        self._copied = False
        self._space = space
        self._seed = seed
        self._listen = listen
        self.groups = searcher.groups
        self.generator = stream(seed, "selection")

    def probabilities(self) -> Mapping[str, Tensor]:
        return {name: values.detach().cpu() for name, values in self._searcher.probabilities().items()}

    def valid(self, kept: Kept) -> bool:
        try:
            self._space.check(genotype_of(self._space.name, kept, self.groups))
        except Refused:
            return False
        return True

    @torch.no_grad()
    def measure(self, edits: Edits) -> Score:
        searcher = self._searcher
        mixture = expand(edits.apply(searcher.probabilities()), self.groups)
        correct, loss, images = torch.zeros((), device=searcher.place.device), 0.0, 0
        for step, (batch, labels) in enumerate(searcher.searching.ordered()):
            if len(labels) < 2:  # batch statistics need two images
                continue
            evaluate = BatchLoss(searcher.supernet, batch, labels, seed_of(self._seed, "measure", step), searcher.place)
            loss = loss + evaluate(mixture) * len(labels)
            assert evaluate.correct is not None
            correct += evaluate.correct
            images += len(labels)
        return Score(float(correct) / images, float(loss) / images)

    def tune(self, edits: Edits, epochs: int, done: int, total: int) -> None:
        searcher = self._copy()
        settings = searcher.settings.weights
        start = TUNING_SHARE * settings.learning_rate
        if done == 0:
            searcher.restart(start)
        searcher.edits = edits
        steps = len(searcher.training)
        self._listen(Started("tune", total * steps, done * steps))
        for epoch in range(done, done + epochs):
            rate = cosine(start, min(settings.final_learning_rate, start), epoch, total)
            # The slots' schedules stand at their end: a smoothed supernet stays smoothed while it is tuned.
            progress = Progress(searcher.settings.epochs, searcher.settings.epochs)
            record = searcher.epoch(progress, rate, ("tune", epoch), self._listen, "tune", epoch * steps)
            self._listen(EpochEnded("tune", record | {"epoch": epoch}))

    def note(self, message: str) -> None:
        self._listen(Noted(message))

    def _copy(self) -> Searcher:
        if not self._copied:
            old = self._searcher
            self._searcher = Searcher(
                copy.deepcopy(old.supernet), old.groups, old.method, old.settings, old.training, old.searching,
                old.place, old.seed, {name: alphas.detach() for name, alphas in old.alphas.items()},
            )  # fmt: skip
            self._copied = True
        return self._searcher


