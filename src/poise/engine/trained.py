"""A trained supernet as selection rules see it: its edits can be compared, it can be tuned, and stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from poise.costs.costs import Aim
from poise.engine.checkpoint import NOWHERE, State
from poise.engine.events import EpochEnded, Listener, Noted, Started, ignore
from poise.engine.keeper import Keeper
from poise.engine.schedule import cosine
from poise.engine.search import Searcher, Sums
from poise.engine.streams import seed_of, stream
from poise.errors import Refused
from poise.methods.slots import Progress, Relaxation
from poise.selection.edits import Edits
from poise.selection.race import Standing, Survivors
from poise.selection.rule import Score, TuneSchedule
from poise.spaces.space import Space, genotype_of
from poise.supernet.groups import ChoiceGroup, Kept, expand

TUNING_SHARE = 0.1
"""Tuning takes this share of the search's learning rate, as in DARTS-PT."""


class TrainedSupernet:
    """Satisfies `poise.selection.rule.Trained`.

    Args:
        space: the space, with what the method leaves out left out.
        groups: its groups.
        alphas, relaxation: what was learnt, and how it is read.
        searcher: opens a searcher on a copy of the trained supernet, to be measured and tuned. It is called when a rule
            first needs it: rules that go by the alphas alone never read data.
        seed: of the rule's random choices.
        keeper: saves where the selection stands. A rule is run again from its beginning when the selection goes on:
            what it asked for before is answered from the journal, so that no rule need know how to resume.
        aim: of the search, if it has a cost target.
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
        keeper: Keeper | None = None,
        aim: Aim | None = None,
    ) -> None:
        self.groups = tuple(groups)
        self.aim = aim
        self.generator = stream(seed, "selection")
        self._space = space
        self._learnt = {name: relaxation(values.detach().cpu()) for name, values in alphas.items()}
        self._open = searcher
        self._seed = seed
        self._listen = listen
        self._keeper = keeper or Keeper()
        self._start = self._keeper.take()
        self._journal: list[dict[str, Any]] = list(self._start.facts.get("journal", []))
        self._answered = 0
        self._edits: Edits | None = None

    @cached_property
    def _searcher(self) -> Searcher:
        searcher = self._open()
        if self._start.tensors:
            searcher.restart(TUNING_SHARE * searcher.settings.weights.learning_rate)
            searcher.restore(self._start)
            searcher.edits = self._edits
        return searcher

    def _answer(self) -> dict[str, Any] | None:
        """What the journal says to the next request; None if it was never made."""
        if self._answered == len(self._journal):
            return None
        self._answered += 1
        return self._journal[self._answered - 1]

    def _write(self, entry: dict[str, Any]) -> None:
        self._journal.append(entry)
        self._answered += 1
        self._start = NOWHERE
        self._keeper.visit(lambda: self._whole(self._searcher.state(0, Sums(), 0.0)), boundary=True)

    def _whole(self, state: State) -> State:
        return state | State({}, {"stage": "selection", "journal": list(self._journal)})

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
        answer = self._answer()
        if answer is not None:
            return [None if score is None else Score(*score) for score in answer["scores"]]
        searcher, sizes = self._searcher, self._sizes
        probabilities = searcher.probabilities()
        mixtures = [expand(edit.apply(probabilities), self.groups) for edit in edits]
        race = self._start.facts.get("race", {"step": 0, "racing": list(range(len(edits)))})
        nothing = {"sums": torch.zeros(2, len(edits)), "hits": torch.empty(len(edits), 0, dtype=torch.bool)}
        found_before = self._start.under("race").tensors or nothing
        sums, hits = found_before["sums"].to(searcher.place.device), found_before["hits"]  # sums: correct, loss
        first, racing = race["step"], race["racing"]
        images = sum(sizes[:first])
        for step, (batch, labels) in enumerate(islice(searcher.searching.ordered(), first, len(sizes)), start=first):
            key = seed_of(self._seed, "measure", step)
            found: list[Tensor] = []
            for index in racing:
                evaluate = searcher.loss(batch, labels, key)
                sums[1, index] += evaluate(mixtures[index]) * len(labels)
                assert evaluate.hits is not None
                sums[0, index] += evaluate.correct
                found.append(evaluate.hits)
            images += len(labels)
            if keep is not None and step + 1 < len(sizes):
                hits = torch.cat((hits, torch.stack(found).cpu()), dim=1)  # the one time that it waits for the device
                stays = keep(Standing(hits, sum(sizes), step + 1, len(sizes)))
                hits = hits[stays]
                racing = [index for index, stay in zip(racing, stays.tolist(), strict=True) if stay]
                if len(racing) == 1:
                    break

            def state(done: int = step + 1, hits: Tensor = hits, racing: list[int] = racing) -> State:
                standing = State({"race/sums": sums, "race/hits": hits}, {"race": {"step": done, "racing": racing}})
                return self._whole(searcher.state(0, Sums(), 0.0) | standing)

            self._keeper.visit(state)
        correct, loss = sums.tolist()
        scores = [Score(correct[i] / images, loss[i] / images) if i in racing else None for i in range(len(edits))]
        self._write({"scores": [score and [score.accuracy, score.loss] for score in scores]})
        return scores

    def tune(self, edits: Edits, epochs: int, done: int, total: int, schedule: TuneSchedule = "constant") -> None:
        self._edits = edits
        if self._answer() is not None:
            return
        searcher, begin = self._searcher, self._start
        settings = searcher.settings.weights
        start = TUNING_SHARE * settings.learning_rate
        if done == 0 and "tuning" not in begin.facts:
            searcher.restart(start)
        searcher.edits = edits
        first = begin.facts.get("tuning", done)
        steps = len(searcher.training)
        self._listen(Started("tune", total * steps, done * steps))
        # The slots' schedules stand at their end: a smoothed supernet stays smoothed while it is tuned.
        progress = Progress(searcher.settings.epochs, searcher.settings.epochs, searcher.stage)
        for epoch in range(first, done + epochs):
            end = min(settings.final_learning_rate, start) if schedule == "cosine" else start
            rate = cosine(start, end, epoch, total)
            standing = State({}, {"tuning": epoch})
            keeper = self._keeper.within(lambda state, standing=standing: self._whole(state | standing), begin)  # type: ignore[misc]
            record = searcher.epoch(progress, rate, ("tune", epoch), self._listen, "tune", epoch * steps, keeper)
            begin = NOWHERE
            self._listen(EpochEnded("tune", record | {"epoch": epoch}))
            after = State({}, {"tuning": epoch + 1})
            self._keeper.visit(lambda after=after: self._whole(searcher.state(0, Sums(), 0.0) | after), boundary=True)  # type: ignore[misc]
        self._write({"tuned": epochs})

    def note(self, message: str) -> None:
        self._listen(Noted(message))
