"""The search loop: alternating steps of alphas and weights. It knows the slots' protocols and no method's name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from poise.costs.costs import Aim
from poise.data.batched import Batched
from poise.engine.checkpoint import NOWHERE, State
from poise.engine.device import Place
from poise.engine.divergence import check_finite
from poise.engine.events import EpochEnded, Listener, Noted, Started, Stepped, ignore
from poise.engine.keeper import Keeper
from poise.engine.loss import BatchLoss, ChangedLoss
from poise.engine.moments import moments, set_moments
from poise.engine.objective import CLASSES, Objective
from poise.engine.schedule import cosine
from poise.engine.settings import SearchSettings
from poise.engine.statistics import mixture_statistics, skip_share
from poise.engine.streams import at_stage, seed_of, stream
from poise.errors import Refused
from poise.methods.alignment import mean_alignment
from poise.methods.method import Method
from poise.methods.slots import Descent, Loss, Progress, Relaxed, Reports
from poise.selection.edits import Edits
from poise.supernet.groups import ChoiceGroup, Mixture, decided, expand
from poise.supernet.inputs import pace_of

Gradients = Callable[[], Mapping[str, Tensor]]


def _by_layer(layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"group {name!r}, layer {i}": part for name, values in layers.items() for i, part in enumerate(values)}


@dataclass
class Sums:
    """What the steps of an epoch measured, kept on the device so that no step waits for it."""

    values: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, **values: Tensor | None) -> None:
        for name, value in values.items():
            if value is not None:
                self.values.setdefault(name, []).append(value.detach())

    def mean(self, name: str) -> float | None:
        found = self.values.get(name)
        return float(torch.stack(found).cpu().double().mean()) if found else None


@dataclass(frozen=True)
class _Step:
    """What one step works with; ``key`` names its random streams."""

    training: BatchLoss
    search: BatchLoss
    progress: Progress
    learning_rate: float
    key: tuple[str | int, ...]
    sums: Sums


class Searcher:
    """A supernet, its alphas and their optimizers, and the step that moves them.

    Args:
        supernet: the network weights; ``supernet(inputs, mixture) -> logits``, or an `Answer`.
        groups: the groups that the alphas decide.
        method: what the slots hold.
        settings: epochs (of this stage), batch size and optimizers.
        training, searching: the batches of the two halves.
        place: device and precision.
        seed: of every random stream.
        alphas: to start from; by default what the relaxation starts with.
        stage: of the method's curriculum.
        objective: what the supernet is trained and measured by.
        aim: of the search, if it has a cost target.
    """

    def __init__(
        self,
        supernet: nn.Module,
        groups: Sequence[ChoiceGroup],
        method: Method,
        settings: SearchSettings,
        training: Batched,
        searching: Batched,
        place: Place,
        seed: int,
        alphas: Mapping[str, Tensor] | None = None,
        stage: int = 0,
        objective: Objective = CLASSES,
        aim: Aim | None = None,
    ) -> None:
        self.supernet = place.put(supernet).train()
        self.groups = tuple(groups)
        self.method = method
        self.settings = settings
        self.training = training
        self.searching = searching
        self.place = place
        self.seed = seed
        self.stage = stage
        self.objective = objective
        self.aim = aim
        if alphas is None:
            begin = method.relaxation.initial
            alphas = {g.name: begin(g.shape, stream(seed, *at_stage("alphas", stage), g.name)) for g in self.groups}
        self.alphas = {
            name: nn.Parameter(place.float(value.to(place.device)).clone()) for name, value in alphas.items()
        }
        self.weights = {name: weight for name, weight in self.supernet.named_parameters() if weight.requires_grad}
        self.edits: Edits | None = None
        self.restart(settings.weights.learning_rate)
        adam = settings.alphas
        self.alpha_optimizer = torch.optim.Adam(
            self.alphas.values(), adam.learning_rate, adam.betas, weight_decay=adam.weight_decay
        )

    def restart(self, learning_rate: float) -> None:
        """A fresh SGD for the weights; the alphas' Adam keeps its state."""
        sgd = self.settings.weights
        self.weight_optimizer = torch.optim.SGD(
            self.weights.values(), learning_rate, sgd.momentum, 0, sgd.weight_decay, sgd.nesterov
        )

    def set_alphas(self, values: Mapping[str, Tensor]) -> None:
        """Give the alphas these values."""
        with torch.no_grad():
            for name, alphas in self.alphas.items():
                alphas.copy_(values[name])

    def probabilities(self) -> dict[str, Tensor]:
        """The relaxed alphas, group -> ``[rows, candidates]``, with what a selection has decided so far."""
        relaxed = {name: self.method.relaxation(alphas) for name, alphas in self.alphas.items()}
        return self.edits.apply(relaxed) if self.edits else relaxed

    def mixture(self) -> Mixture:
        """`probabilities`, one copy per layer."""
        return expand(self.probabilities(), self.groups)

    def loss(self, inputs: Any, labels: Tensor, seed: int, skip_dropout: float = 0.0) -> BatchLoss:
        """The supernet's loss on one batch."""
        return BatchLoss(self.supernet, inputs, labels, seed, self.place, skip_dropout, self.objective)

    def epoch(
        self,
        progress: Progress,
        learning_rate: float,
        purpose: tuple[str | int, ...],
        listen: Listener,
        stage: str,
        done: int,
        keeper: Keeper | None = None,
    ) -> dict[str, Any]:
        """One pass over the training half, or the rest of it where the keeper starts in this epoch; returns the epoch's
        record.

        Args:
            progress: where the slots' schedules stand.
            learning_rate: of the weights.
            purpose: names the epoch's random streams.
            listen, stage, done: who is told of each step, of which stage, after how many steps.
            keeper: saves the searcher's state between steps.
        """
        keeper = keeper or Keeper()
        first, sums, spent = self._restore_sums(keeper.take())
        start = time.perf_counter() - spent
        alphas = self.settings.alphas
        if alphas.final_learning_rate is not None:
            for group in self.alpha_optimizer.param_groups:
                group["lr"] = cosine(alphas.learning_rate, alphas.final_learning_rate, progress.epoch, progress.epochs)
        moves = [self._move_weights]
        if self.method.curriculum.trains_alphas(progress):
            moves.insert(1 if self.settings.weights_first else 0, self._move_alphas)
        searching = self._cycle(purpose, first)
        batches = self.training.epoch(stream(self.seed, "order", *purpose), first)
        dropout = self.method.curriculum.skip_dropout(progress)
        for number, batch in enumerate(batches, start=first):
            key = (*purpose, number)
            rate = learning_rate * pace_of(batch[0])
            for group in self.weight_optimizer.param_groups:
                group["lr"] = rate
            training = self.loss(*batch, seed_of(self.seed, "training", *key), dropout)
            search = self.loss(*next(searching), seed_of(self.seed, "search", *key), dropout)
            for move in moves:
                move(_Step(training, search, progress, rate, key, sums))
            listen(Stepped(stage, done + number + 1))
            step = number + 1
            keeper.visit(lambda step=step: self.state(step, sums, time.perf_counter() - start))  # type: ignore[misc]
        record = self._record(progress, learning_rate, sums)
        record["seconds"] = time.perf_counter() - start
        return record

    def _cycle(self, purpose: tuple[str | int, ...], start: int) -> Iterator[tuple[Any, Tensor]]:
        """Batches of the search half, as many as are asked for, from number ``start`` on."""
        turn, skip = divmod(start, len(self.searching))
        while True:
            yield from self.searching.epoch(stream(self.seed, "search order", *purpose, turn), skip)
            turn, skip = turn + 1, 0

    def state(self, step: int, sums: Sums, seconds: float) -> State:
        """Everything that moves, after ``step`` steps of an epoch. Random streams do not: they go by name."""
        tensors = {f"supernet/{name}": value for name, value in self.supernet.state_dict().items()}
        tensors |= {f"alphas/{name}": value for name, value in self.alphas.items()}
        for kind, optimizer, moved in self._optimizers():
            tensors |= {f"{kind}/{label}": value for label, value in moments(optimizer, moved).items()}
        tensors |= {f"sums/{name}": torch.stack(values) for name, values in sums.values.items()}
        return State(tensors, {"step": step, "seconds": seconds})

    def restore(self, state: State) -> None:
        """Take up a state. Raises `Refused` if it is not one of this searcher's."""
        try:
            self.supernet.load_state_dict(state.under("supernet").tensors)
            with torch.no_grad():
                for name, alphas in self.alphas.items():
                    alphas.copy_(state.tensors[f"alphas/{name}"])
        except (KeyError, RuntimeError):
            raise Refused(
                "the checkpoint is of another supernet than that of the run's configuration or module"
            ) from None
        for kind, optimizer, moved in self._optimizers():
            set_moments(optimizer, moved, state.under(kind).tensors)

    def alpha_moments(self) -> dict[str, Tensor]:
        """What the alphas' Adam remembers: ``exp_avg/GROUP``, ``exp_avg_sq/GROUP``, ``step/GROUP``; empty before its
        first step."""
        return moments(self.alpha_optimizer, self.alphas)

    def set_alpha_moments(self, values: Mapping[str, Tensor]) -> None:
        """Let the alphas' Adam go on from there."""
        set_moments(self.alpha_optimizer, self.alphas, values)

    def _optimizers(self) -> list[tuple[str, torch.optim.Optimizer, Mapping[str, Tensor]]]:
        return [("sgd", self.weight_optimizer, self.weights), ("adam", self.alpha_optimizer, self.alphas)]

    def _restore_sums(self, state: State) -> tuple[int, Sums, float]:
        found = {
            name: list(values.to(self.place.device).unbind()) for name, values in state.under("sums").tensors.items()
        }
        return state.facts.get("step", 0), Sums(found), state.facts.get("seconds", 0.0)

    def _move_alphas(self, step: _Step) -> None:
        settings = self.settings.weights
        buffers = {}
        for name, weight in self.weights.items():
            buffer = self.weight_optimizer.state.get(weight, {}).get("momentum_buffer")
            if buffer is not None:
                buffers[name] = buffer
        descent = Descent(step.learning_rate, settings.momentum, settings.weight_decay, settings.nesterov, buffers)
        probabilities = self.probabilities()
        mixture = expand(probabilities, self.groups)
        found = self.method.hypergradient(step.search, step.training, mixture, self.weights, descent)
        size = torch.stack([values.norm() for values in found.layers.values()]).norm()
        self._check(step, "alphas", found.loss, size, lambda: _by_layer(found.layers))
        penalty = self.method.penalty(Relaxed.of(self.groups, self.alphas, probabilities, step.progress, self.aim))
        # One scalar whose gradient is the chain through the relaxation: Σ ∂L/∂p·p + penalty.
        chain = sum(((found.layers[name] * values).sum() for name, values in mixture.items()), start=penalty)
        for alphas, gradient in zip(
            self.alphas.values(), torch.autograd.grad(chain, list(self.alphas.values())), strict=True
        ):
            alphas.grad = gradient
        self.alpha_optimizer.step()
        step.sums.add(
            search_loss=found.loss,
            search_accuracy=step.search.accuracy,
            search_alignment=mean_alignment(found.layers, self.groups),
            penalty=penalty,
        )
        step.search.carry()

    def _check(self, step: _Step, what: str, loss: Tensor, size: Tensor, gradients: Gradients) -> None:
        """Raise `Diverged` rather than take up what is not finite."""
        *_, before, number = step.key  # steps and epochs, counted through all stages; a person counts from 1
        epoch = before if isinstance(before, int) else step.progress.epoch
        where = f"the {what}' step {int(number) + 1} of {step.key[0]} epoch {epoch + 1}"
        advice = (
            f"the learning rate is {step.learning_rate:.4g} (search.weights.learning_rate), the perturbation "
            f"{self.method.perturbation}; try a smaller one of either, or --on-nan rollback"
        )
        check_finite(loss, size, gradients, where, advice)

    def _move_weights(self, step: _Step) -> None:
        training = step.training
        relaxation, edits = self.method.relaxation, self.edits
        clean: Mixture = expand({name: relaxation(a.detach()) for name, a in self.alphas.items()}, self.groups)
        generator = stream(self.seed, "perturbation", *step.key)
        chosen = {group.name: clean[group.name] for group in decided(self.groups)}
        others = {name: values for name, values in clean.items() if name not in chosen}

        def whole(part: Mixture) -> Mixture:
            completed = {**part, **others}
            return edits.apply(completed) if edits else completed

        loss: Loss = ChangedLoss(training, whole) if edits or others else training
        mixture = whole(self.method.perturbation(chosen, loss, relaxation, step.progress, generator))
        found = self.method.alignment(training, mixture, self.weights, self.groups, step.progress)
        # Not in place: autograd hands out one tensor for two weights whose gradients are the same.
        norm = nn.utils.get_total_norm(found.weights.values())
        self._check(step, "weights", found.loss, norm, lambda: found.weights)
        shrink = (self.settings.weights.clip / (norm + 1e-6)).clamp(max=1)
        for name, weight in self.weights.items():
            weight.grad = found.weights[name] * shrink
        self.weight_optimizer.step()
        step.sums.add(
            train_loss=training.plain,
            train_accuracy=training.accuracy,
            train_alignment=mean_alignment(found.layers, self.groups),
        )
        training.carry()

    def _record(self, progress: Progress, learning_rate: float, sums: Sums) -> dict[str, Any]:
        probabilities = {name: values.detach().cpu() for name, values in self.probabilities().items()}
        alphas = {name: values.detach().cpu() for name, values in self.alphas.items()}
        penalty, relaxed = self.method.penalty, Relaxed.of(self.groups, alphas, probabilities, progress, self.aim)
        more = penalty.report(relaxed) if isinstance(penalty, Reports) else {}
        record: dict[str, Any] = {
            "epoch": progress.epoch,
            "train_loss": sums.mean("train_loss"),
            "train_accuracy": sums.mean("train_accuracy"),
            "search_loss": sums.mean("search_loss"),
            "search_accuracy": sums.mean("search_accuracy"),
            "learning_rate": learning_rate,
            "mixture": mixture_statistics(probabilities, self.groups),
            "alignment": {"train": sums.mean("train_alignment"), "search": sums.mean("search_alignment")},
            "skip_share": skip_share(probabilities, self.groups),
            "penalty": sums.mean("penalty"),
            **more,
            "alphas": {name: values.tolist() for name, values in alphas.items()},
        }
        for name, batches in (("train", self.training), ("search", self.searching)):
            loss = record[f"{name}_loss"]
            if loss is not None:
                record |= {f"{name}_{what}": value for what, value in batches.also(loss).items()}
        return record


def search(
    searcher: Searcher,
    listen: Listener = ignore,
    keeper: Keeper | None = None,
    rate: float = 1.0,
    diagnose: Callable[[Searcher], Mapping[str, float]] = lambda searcher: {},
    before: int = 0,
    total: int | None = None,
) -> list[dict[str, Any]]:
    """Run all epochs of the searcher's stage, or those after the keeper's start; returns a record per epoch. The
    searcher holds the result: the weights at the end, and the alphas that the method's guard and averaging leave to the
    selection.

    Args:
        searcher: what is trained.
        listen: called with every event.
        keeper: where the search starts, and where its state goes.
        rate: multiplies the learning rate of the weights.
        diagnose: measures more of the supernet after each epoch, for its record; leaves it as it is.
        before: how many epochs earlier stages had; epochs and their random streams are numbered through.
        total: the epochs of all stages; None: this one's.
    """
    keeper = keeper or Keeper()
    settings = searcher.settings
    steps = len(searcher.training)
    start = keeper.take()
    history: list[dict[str, Any]] = list(start.facts.get("history", []))
    if start.tensors:
        searcher.restore(start)
    total = settings.epochs if total is None else total
    listen(Started("search", total * steps, (before + len(history)) * steps + start.facts.get("step", 0)))
    guard = searcher.method.guard
    warned = bool(history) and guard(history).warning is not None
    for epoch in range(len(history), settings.epochs):
        if history and guard(history).stop:
            break
        weights = settings.weights
        now = rate * cosine(weights.learning_rate, weights.final_learning_rate, epoch, settings.epochs)
        progress = Progress(epoch, settings.epochs, searcher.stage)
        number = before + epoch
        so_far = State({}, {"history": list(history)})
        keeping = keeper.within(lambda state, so_far=so_far: state | so_far, start)  # type: ignore[misc]
        record = searcher.epoch(progress, now, ("search", number), listen, "search", number * steps, keeping)
        start = NOWHERE
        record |= {"epoch": number, **diagnose(searcher)}
        history.append(record)
        listen(EpochEnded("search", record))
        warning = guard(history).warning
        if warning is not None and not warned:
            listen(Noted(warning))
            warned = True
        keeper.visit(lambda: searcher.state(0, Sums(), 0.0) | State({}, {"history": history}), boundary=True)
    kept = guard(history).keep
    if kept != len(history) - 1:
        listen(Noted(f"the alphas of epoch {before + kept + 1} of {before + len(history)} are kept"))
    searcher.set_alphas(searcher.method.outcome(history))
    return history
