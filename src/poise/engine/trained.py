"""A trained supernet as selection rules see it: its edits can be compared, it can be tuned, and stays as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from poise.costs.costs import Aim
from poise.engine.checkpointer import Checkpointer
from poise.engine.events import Listener, Noted, ignore
from poise.engine.loop import Course, run, take_up
from poise.engine.objective import Meter, Metric, decides, metric_of
from poise.engine.schedule import cosine
from poise.engine.search import SearchTrainer
from poise.engine.searcher import Epoch, Searcher
from poise.engine.streams import seed_of, stream
from poise.errors import Refused
from poise.methods.slots import Progress, Relaxation
from poise.selection.edits import Edits
from poise.selection.race import Standing, Survivors
from poise.selection.rule import Decision, Score, TuneSchedule
from poise.spaces.space import Space, genotype_of
from poise.supernet.groups import ChoiceGroup, Kept, expand
from poise.supernet.trees import count_of

TUNING_SHARE = 0.1
"""Tuning takes this share of the search's learning rate, as in DARTS-PT."""


@dataclass(eq=False, repr=False)
class TrainedSupernet:
    """Satisfies `poise.selection.rule.Trained`.

    Args:
        space: the space, with what the method leaves out left out.
        groups: its groups.
        alphas, relaxation: what was learnt, and how it is read.
        open_searcher: opens one on a copy of the trained supernet, to be measured and tuned. It is called when a rule
            first needs it: rules that go by the alphas alone never read data.
        seed: of the rule's random choices.
        saver: saves where the selection stands. A rule is run again from its beginning when the selection goes on:
            what it asked for before is answered from the journal, so that no rule need know how to resume.
        aim: of the search, if it has a cost target.
        decided: hears of every decision that was measured.
    """

    space: Space
    groups: tuple[ChoiceGroup, ...]
    alphas: InitVar[Mapping[str, Tensor]]
    relaxation: InitVar[Relaxation]
    open_searcher: Callable[[], Searcher]
    seed: int
    listen: Listener = ignore
    saver: Checkpointer = field(default_factory=Checkpointer)
    aim: Aim | None = None
    decided: Callable[[Decision], None] = lambda decision: None

    def __post_init__(self, alphas: Mapping[str, Tensor], relaxation: Relaxation) -> None:
        self.generator = stream(self.seed, "selection")
        self._learnt = {name: relaxation(values.detach().cpu()) for name, values in alphas.items()}
        self._journal: list[dict[str, Any]] = list(self.saver.facts.get("journal", []))
        self.saver.facts |= {"stage": "selection", "journal": self._journal}
        self._answered = 0
        self._edits: Edits | None = None

    @cached_property
    def _searcher(self) -> Searcher:
        searcher = self.open_searcher()
        if "trainer" in self.saver.start:
            searcher.restart(TUNING_SHARE * searcher.settings.weights.learning_rate)
            take_up(searcher.restore, self.saver.start["trainer"])
            searcher.edits = self._edits and self._edits.on(searcher.place.device)
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
        self.saver.visit(lambda: {"trainer": self._searcher.state()}, boundary=True)

    @cached_property
    def _sizes(self) -> list[int]:
        """The images of each batch that is measured on: batch statistics need more than one, if there are any more."""
        sizes = [count_of(labels) for _, labels in self._searcher.searching.ordered()]
        return [size for step, size in enumerate(sizes) if size > 1 or step == 0]

    def probabilities(self) -> Mapping[str, Tensor]:
        return self._learnt

    def valid(self, kept: Kept) -> bool:
        try:
            self.space.check(genotype_of(self.space.name, kept, self.groups))
        except Refused:
            return False
        return True

    @torch.no_grad()
    def compare(
        self, edits: Sequence[Edits], keep: Survivors | None = None, metric: str | None = None
    ) -> list[Score | None]:
        answer = self._answer()
        if answer is not None:
            return [None if score is None else Score(*score) for score in answer["scores"]]
        searcher, sizes = self._searcher, self._sizes
        objective = searcher.objective
        counts = metric in (None, objective.metric.name)
        judged = objective.metric if metric is None else metric_of(objective, metric)
        hits = objective.hits if keep is not None and counts and decides(objective) else None
        probabilities = searcher.probabilities()
        mixtures = [expand(edit.apply(probabilities), self.groups) for edit in edits]
        meters = [objective.running() if counts else objective.meter() for _ in edits]
        race = self.saver.take().get("race", {})
        for name, saved in race.get("meters", {}).items():
            meters[int(name)].restore(saved)
        first, racing = race.get("step", 0), race.get("racing", list(range(len(edits))))
        seen = race.get("hits", torch.empty(len(edits), 0, dtype=torch.bool))
        losses = race.get("losses", torch.zeros(len(edits))).to(searcher.place.device)
        count = race.get("count", 0)
        for step, (batch, labels) in enumerate(islice(searcher.searching.ordered(), first, len(sizes)), start=first):
            key = seed_of(self.seed, "measure", step)
            weight = objective.count(labels)
            count = count + weight
            found: list[Tensor] = []
            for index in racing:
                evaluate = searcher.loss(batch, labels, key)
                losses[index] += evaluate(mixtures[index]) * weight
                evaluate.count(meters[index])
                if hits is not None:
                    found.append(hits(evaluate.outputs, labels))
            if keep is not None and found and step + 1 < len(sizes):
                seen = torch.cat((seen, torch.stack(found).cpu()), dim=1)  # the one time that it waits for the device
                stays = keep(Standing(seen, sum(sizes), step + 1, len(sizes)))
                seen = seen[stays]
                racing = [index for index, stay in zip(racing, stays.tolist(), strict=True) if stay]
                if len(racing) == 1:
                    break

            race = {"step": step + 1, "racing": racing, "losses": losses, "count": count, "hits": seen}
            race["meters"] = {str(index): meters[index].state() for index in racing}
            self.saver.visit(lambda race=race: {"trainer": searcher.state(), "race": race})  # type: ignore[misc]
        means = (losses / count).tolist() if isinstance(count, Tensor) else [loss / count for loss in losses.tolist()]
        scores = [_score(meters[i], means[i], judged) if i in racing else None for i in range(len(edits))]
        self._write({"scores": [score and [score.quality, score.loss] for score in scores]})
        return scores

    def tune(self, edits: Edits, epochs: int, done: int, total: int, schedule: TuneSchedule = "constant") -> None:
        self._edits = edits
        if self._answer() is not None:
            return
        searcher, settings = self._searcher, self._searcher.settings
        start = TUNING_SHARE * settings.weights.learning_rate
        if done == 0 and "epoch" not in self.saver.start:
            searcher.restart(start)
        searcher.edits = edits.on(searcher.place.device)
        end = min(settings.weights.final_learning_rate, start) if schedule == "cosine" else start
        # The slots' schedules stand at their end: a smoothed supernet stays smoothed while it is tuned.
        progress = Progress(settings.epochs, settings.epochs, searcher.stage)

        def epoch(number: int) -> Epoch:
            return Epoch(progress, cosine(start, end, number, total), ("tune", number))

        course = Course("tune", done + epochs, len(searcher.training), done, total)
        run(SearchTrainer(searcher, epoch), course, self.listen, self.saver, [])
        self._write({"tuned": epochs})

    def note(self, message: str) -> None:
        self.listen(Noted(message))


def _score(meter: Meter, loss: float, metric: Metric) -> Score:
    """What is no number is worse than any."""
    value = {**meter.compute(), "loss": loss}[metric.name]
    quality = value if metric.higher_is_better else -value
    return Score(-math.inf if math.isnan(quality) else quality, loss)
