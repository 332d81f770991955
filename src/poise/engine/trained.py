"""A trained supernet as selection rules see it: it can be measured and tuned, and stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from poise.engine.events import EpochEnded, Listener, Noted, Started, ignore
from poise.engine.loss import BatchLoss
from poise.engine.search import Searcher, cosine
from poise.engine.streams import seed_of, stream
from poise.errors import Refused
from poise.methods.slots import Progress, Relaxation
from poise.selection.edits import Edits
from poise.selection.rule import Score
from poise.spaces.space import Space, genotype_of
from poise.supernet.groups import ChoiceGroup, Kept, expand

TUNING_SHARE = 0.1
"""Tuning starts at this share of the search's learning rate, as in DARTS-PT."""


class TrainedSupernet:
    """Satisfies `poise.selection.rule.Trained`.

    Args:
        space: the space, with what the method leaves out left out.
        groups: its groups.
        alphas, relaxation: what was learnt, and how it is read.
        searcher: opens a searcher on a copy of the trained supernet, to be measured and tuned. It is called when a rule
            first needs it: rules that go by the alphas alone never read data.
        seed: of the rule's random choices.
    """

    def __init__(
        self,
        space: Space,
        groups: Sequence[ChoiceGroup],
        alphas: Mapping[str, Tensor],
        relaxation: Relaxation,
        searcher: Callable[[], Searcher],
        seed: int,
        listen: Listener = ignore,
    ) -> None:
        self.groups = tuple(groups)
        self.generator = stream(seed, "selection")
        self._space = space
        self._learnt = {name: relaxation(values.detach().cpu()) for name, values in alphas.items()}
        self._open = searcher
        self._seed = seed
        self._listen = listen

    @cached_property
    def _searcher(self) -> Searcher:
        return self._open()

    def probabilities(self) -> Mapping[str, Tensor]:
        return self._learnt

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
        correct = torch.zeros((), device=searcher.place.device)
        loss = torch.zeros((), device=searcher.place.device)
        images = 0
        for step, (batch, labels) in enumerate(searcher.searching.ordered()):
            if len(labels) < 2 and images:  # batch statistics need more than one image
                continue
            key = seed_of(self._seed, "measure", step)
            evaluate = BatchLoss(searcher.supernet, batch, labels, key, searcher.place)
            loss += evaluate(mixture) * len(labels)
            assert evaluate.correct is not None
            correct += evaluate.correct
            images += len(labels)
        return Score(float(correct) / images, float(loss) / images)

    def tune(self, edits: Edits, epochs: int, done: int, total: int) -> None:
        searcher = self._searcher
        settings = searcher.settings.weights
        start = TUNING_SHARE * settings.learning_rate
        if done == 0:
            searcher.restart(start)
        searcher.edits = edits
        steps = len(searcher.training)
        self._listen(Started("tune", total * steps, done * steps))
        # The slots' schedules stand at their end: a smoothed supernet stays smoothed while it is tuned.
        progress = Progress(searcher.settings.epochs, searcher.settings.epochs)
        for epoch in range(done, done + epochs):
            rate = cosine(start, min(settings.final_learning_rate, start), epoch, total)
            record = searcher.epoch(progress, rate, ("tune", epoch), self._listen, "tune", epoch * steps)
            self._listen(EpochEnded("tune", record | {"epoch": epoch}))

    def note(self, message: str) -> None:
        self._listen(Noted(message))
