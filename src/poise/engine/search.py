"""The course of a search: alphas and weights take turns, step by step, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from poise.data.batched import Passing
from poise.engine.captured import Captured
from poise.engine.checkpointer import Checkpointer
from poise.engine.events import EpochEnded, Event, Listener, Noted, ignore
from poise.engine.loop import Course, Record, Sums, run
from poise.engine.objective import uneven
from poise.engine.schedule import cosine
from poise.engine.searcher import Epoch, Given, Measured, Searcher
from poise.engine.sgd import set_learning_rate
from poise.engine.streams import seed_of, stream
from poise.methods.slots import Progress
from poise.supernet.inputs import pace_of


class SearchTrainer:
    """Trains a searcher; ``epochs`` says what the epoch of a number goes by. Satisfies `poise.engine.loop.Trainer`."""

    def __init__(self, searcher: Searcher, epochs: Callable[[int], Epoch], listen: Listener = ignore) -> None:
        self.searcher = searcher
        self.state, self.restore = searcher.state, searcher.restore
        self._epochs = epochs
        self._captured = Captured(searcher.backend, listen)
        self._captured.hand_draws_to(searcher.supernet, "supernet")

    def begin(self, epoch: int, first: int) -> Passing:
        searcher = self.searcher
        self._captured.forget()
        self._now = now = self._epochs(epoch)
        alphas, curriculum = searcher.settings.alphas, searcher.method.curriculum
        if alphas.final_learning_rate is not None:
            start, end, progress = alphas.learning_rate, alphas.final_learning_rate, now.progress
            set_learning_rate(searcher.alpha_optimizer, cosine(start, end, progress.epoch, progress.epochs))
        self._moves = {"weights": searcher.move_weights}
        if curriculum.trains_alphas(now.progress):
            alphas_move = {"alphas": searcher.move_alphas}
            self._moves = self._moves | alphas_move if searcher.settings.weights_first else alphas_move | self._moves
        self._dropout = curriculum.skip_dropout(now.progress)
        self._searching = self._cycle(now.purpose, first)
        return searcher.training.epoch(stream(searcher.seed, "order", *now.purpose), first)

    def _cycle(self, purpose: tuple[str | int, ...], start: int) -> Iterator[tuple[Any, Tensor]]:
        """Batches of the search half, as many as are asked for, from number ``start`` on."""
        searching, seed = self.searcher.searching, self.searcher.seed
        turn, skip = divmod(start, len(searching))
        while True:
            yield from searching.epoch(stream(seed, "search order", *purpose, turn), skip)
            turn, skip = turn + 1, 0

    def step(self, number: int, batch: tuple[Any, Tensor], sums: Sums) -> None:
        given = self._given(number, batch)
        for what in self._moves:
            self.searcher.announce(given, what)
        found = self._captured(lambda halves: self.move(given.on(*halves)), (given.training, given.search))
        self._tell(given, found, sums)
        self.searcher.watch.visit()

    def _given(self, number: int, batch: tuple[Any, Tensor]) -> Given:
        """The host's part before a step: batches, rates, random numbers."""
        searcher, now = self.searcher, self._now
        rate, key = now.learning_rate * pace_of(batch[0]), (*now.purpose, number)
        set_learning_rate(searcher.weight_optimizer, rate)
        draws = {
            name: self._captured.draws(name, seed_of(searcher.seed, name, *key), searcher.place.device, exact)
            for name, exact in (("training", False), ("search", False), ("perturbation", True))
        }
        return Given(batch, next(self._searching), now.progress, rate, key, self._dropout, draws)

    @property
    def replays(self) -> bool:
        """Whether steps are replays by now."""
        return self._captured.replays

    def move(self, given: Given) -> dict[str, Measured]:
        """The device's part of a step: it launches, and waits for nothing. What it leaves, by half."""
        found: dict[str, Measured] = {}
        for move in self._moves.values():
            found |= move(given)
        return found

    def _tell(self, given: Given, found: Mapping[str, Measured], sums: Sums) -> None:
        """The host's part after a step: what was measured."""
        objective = self.searcher.objective
        for half, measured in found.items():
            _, targets = given.search if half == "search" else given.training
            penalty = {"penalty": measured["penalty"]} if "penalty" in measured else {}
            sums.add(
                **{f"{half}_{name}": measured[name] for name in ("loss", "alignment")},
                **{f"{half}_loss_weight": uneven(objective, targets)},
                **penalty,
            )
            sums.meter(half, objective.running).update(measured["outputs"], targets)

    def record(self, sums: Sums, history: Sequence[Mapping[str, Any]]) -> Record:
        self.searcher.watch.check()
        self.searcher.check_same(f"after epoch {len(history) + 1}")
        return self.searcher.record(self._now, sums)


def one_epoch(searcher: Searcher, epoch: Epoch, listen: Listener = ignore) -> Record:
    """One epoch on its own; returns its record."""
    course = Course("search", 1, len(searcher.training))
    return run(SearchTrainer(searcher, lambda number: epoch, listen), course, listen, Checkpointer())[0]


def search(
    searcher: Searcher,
    listen: Listener = ignore,
    saver: Checkpointer | None = None,
    rate: float = 1.0,
    diagnose: Callable[[Searcher], Mapping[str, float]] = lambda searcher: {},
    before: int = 0,
    total: int | None = None,
) -> list[Record]:
    """Run all epochs of the searcher's stage, or those after the saver's start; returns a record per epoch. The
    searcher holds the result: the weights at the end, and the alphas that the method's guard and averaging leave to the
    selection.

    Args:
        searcher: what is trained.
        listen: called with every event.
        saver: where the search starts, and where its state goes.
        rate: multiplies the learning rate of the weights.
        diagnose: measures more of the supernet after each epoch, for its record; leaves it as it is.
        before: how many epochs earlier stages had; epochs and their random streams are numbered through.
        total: the epochs of all stages; None: this one's.
    """
    saver = saver or Checkpointer()
    settings, method = searcher.settings, searcher.method

    def own() -> list[Record]:
        return saver.history[before:]

    def warning() -> str | None:
        return method.guard(own()).warning if own() else None

    warned = warning() is not None

    def hear(event: Event) -> None:
        nonlocal warned
        listen(event)
        if isinstance(event, EpochEnded) and not warned and (message := warning()) is not None:
            listen(Noted(message))
            warned = True

    def epoch(number: int) -> Epoch:
        progress = Progress(number - before, settings.epochs, searcher.stage)
        start, end = settings.weights.learning_rate, settings.weights.final_learning_rate
        return Epoch(progress, rate * cosine(start, end, progress.epoch, progress.epochs), ("search", number))

    course = Course(
        "search",
        before + settings.epochs,
        len(searcher.training),
        total=total,
        stop=lambda: bool(own()) and method.guard(own()).stop,
        measure=lambda: diagnose(searcher),
    )
    run(SearchTrainer(searcher, epoch, hear), course, hear, saver)
    history = own()
    kept = method.guard(history).keep
    if kept != len(history) - 1:
        listen(Noted(f"the alphas of epoch {before + kept + 1} of {before + len(history)} are kept"))
    searcher.set_alphas(method.outcome(history))
    return history
