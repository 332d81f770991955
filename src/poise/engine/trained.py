"""A trained supernet as selection rules see it: its edits can be compared, it can be tuned, and stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor

from poise.engine.events import EpochEnded, Listener, Noted, Started, ignore
from poise.engine.loss import BatchLoss
from poise.engine.search import Searcher, cosine
from poise.engine.streams import seed_of, stream
from poise.errors import Refused
from poise.methods.slots import Progress, Relaxation
from poise.selection.edits import Edits
from poise.selection.race import Standing, Survivors
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

    @cached_property
    def _sizes(self) -> list[int]:
        """The images of each batch that is measured on: batch statistics need more than one, if there are any more."""
        sizes = [len(labels) for _, labels in self._searcher.searching.ordered()]
        return [size for step, size in enumerate(sizes) if size > 1 or step == 0]

    def probabilities(self) -> Mapping[str, Tensor]:
        return self._learnt

    def valid(self, kept: Kept) -> bool:
        try:
            self._space.check(genotype_of(self._space.name, kept, self.groups))
        except Refused:
            return False
        return True

    @torch.no_grad()
    def compare(self, edits: Sequence[Edits], keep: Survivors | None = None) -> list[Score | None]:
        searcher, sizes = self._searcher, self._sizes
        probabilities = searcher.probabilities()
        mixtures = [expand(edit.apply(probabilities), self.groups) for edit in edits]
        sums = torch.zeros(2, len(edits), device=searcher.place.device)  # correct, loss
        racing = list(range(len(edits)))
        hits = torch.empty(len(edits), 0, dtype=torch.bool)
        images = 0
        for step, (batch, labels) in enumerate(islice(searcher.searching.ordered(), len(sizes))):
            key = seed_of(self._seed, "measure", step)
            found: list[Tensor] = []
            for index in racing:
                evaluate = BatchLoss(searcher.supernet, batch, labels, key, searcher.place)
                sums[1, index] += evaluate(mixtures[index]) * len(labels)
                assert evaluate.hits is not None
                sums[0, index] += evaluate.correct
                found.append(evaluate.hits)
            images += len(labels)
            if keep is None or step + 1 == len(sizes):
                continue
            hits = torch.cat((hits, torch.stack(found).cpu()), dim=1)  # the one time that a batch waits for the device
            stays = keep(Standing(hits, sum(sizes), step + 1, len(sizes)))
            hits = hits[stays]
            racing = [index for index, stay in zip(racing, stays.tolist(), strict=True) if stay]
            if len(racing) == 1:
                break
        correct, loss = sums.tolist()
        return [Score(correct[i] / images, loss[i] / images) if i in racing else None for i in range(len(edits))]

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
