"""What a search moves: a supernet's weights and its alphas, and the device's part of a step. It knows the slots'
protocols and no method's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from poise.costs.costs import Aim
from poise.data.batched import Batched
from poise.engine.captured import Backend, backend_of
from poise.engine.checkpoint import State
from poise.engine.device import Place
from poise.engine.divergence import Look, Watch, norms_of
from poise.engine.loop import Record, Sums
from poise.engine.loss import BatchLoss, ChangedLoss
from poise.engine.mixture_statistics import mixture_statistics, skip_share
from poise.engine.objective import CLASSES, Objective
from poise.engine.settings import SearchSettings
from poise.engine.sgd import (
    adam,
    clipped_step,
    learning_rate_of,
    optimizer_state,
    restore_optimizer,
    sgd,
)
from poise.engine.streams import at_stage, stream
from poise.methods.alignment import mean_alignment
from poise.methods.method import Method
from poise.methods.slots import Descent, Loss, Progress, Relaxed, Reports
from poise.selection.edits import Edits
from poise.spaces.execution import use
from poise.supernet.draws import Draws
from poise.supernet.global_norm import average_statistics, globally
from poise.supernet.groups import ChoiceGroup, Mixture, expand, searchable
from poise.supernet.layout import laid_out


def _layers(gradients: Mapping[str, Tensor]) -> list[str]:
    """What each layer's gradient is called."""
    return [f"group {name!r}, layer {layer}" for name, values in gradients.items() for layer in range(len(values))]


@dataclass(frozen=True)
class Epoch:
    """What an epoch of a search goes by.

    Args:
        progress: where the slots' schedules stand.
        learning_rate: of the weights.
        purpose: names the epoch's random streams.
    """

    progress: Progress
    learning_rate: float
    purpose: tuple[str | int, ...]


@dataclass(frozen=True)
class Given:
    """What the host hands to the device for one step.

    Args:
        training, search: a batch of each half, inputs and targets.
        progress: where the slots' schedules stand.
        learning_rate: of the weights.
        key: names the step's random streams.
        skip_dropout: the rate of dropout on skip connections.
        draws: the random numbers of the two halves' losses and of the ``perturbation``.
    """

    training: tuple[Any, Any]
    search: tuple[Any, Any]
    progress: Progress
    learning_rate: float
    key: tuple[str | int, ...]
    skip_dropout: float
    draws: Mapping[str, Draws]

    def on(self, training: tuple[Any, Any], search: tuple[Any, Any]) -> Given:
        """The same step on other batches."""
        return replace(self, training=training, search=search)


Measured = dict[str, Any]
"""What a part of a step leaves on the device: ``outputs``, a tree, and scalars for the record."""


@dataclass(eq=False, repr=False)
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
        begin: the alphas to start from; by default what the relaxation starts with.
        stage: of the method's curriculum.
        objective: what the supernet is trained and measured by.
        aim: of the search, if it has a cost target.
    """

    supernet: nn.Module
    groups: tuple[ChoiceGroup, ...]
    method: Method
    settings: SearchSettings
    training: Batched
    searching: Batched
    place: Place
    seed: int
    begin: InitVar[Mapping[str, Tensor] | None] = None
    stage: int = 0
    objective: Objective = CLASSES
    aim: Aim | None = None
    edits: Edits | None = field(default=None, init=False)

    def __post_init__(self, begin: Mapping[str, Tensor] | None) -> None:
        place, initial, purpose = self.place, self.method.relaxation.initial, at_stage("alphas", self.stage)
        self.supernet = place.put(self.supernet).train()
        if self.settings.normalisation == "global":
            self.supernet = globally(self.supernet, place.processes)
        use(self.supernet, self.settings.execution)
        if begin is None:
            begin = {g.name: initial(g.shape, stream(self.seed, *purpose, g.name)) for g in self.groups}
        self.alphas = {name: nn.Parameter(place.float(value.to(place.device)).clone()) for name, value in begin.items()}
        self.weights = {name: weight for name, weight in self.supernet.named_parameters() if weight.requires_grad}
        if self.aim is not None:
            self.aim = replace(self.aim, costs=self.aim.costs.on(place.device))
        self.watch = Watch(place.device, waits=not place.processes.alone)
        self.backend: Backend | None = (
            backend_of(place.device, self.settings.capture) if place.processes.alone else None
        )
        self.restart(self.settings.weights.learning_rate)
        self.alpha_optimizer = adam(self.alphas.values(), self.settings.alphas, self.watch.fault)

    def restart(self, learning_rate: float) -> None:
        """A fresh SGD for the weights; the alphas' Adam keeps its state."""
        self.weight_optimizer = sgd(self.weights, self.settings.weights, self.watch.fault, learning_rate)

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

    def half(self, name: str, given: Given) -> BatchLoss:
        """The loss of a step's batch of a half, ``training`` or ``search``."""
        inputs, targets = given.training if name == "training" else given.search
        draws = given.draws[name]
        return BatchLoss(self.supernet, inputs, targets, draws, self.place, given.skip_dropout, self.objective)

    def loss(self, inputs: Any, targets: Any, seed: int) -> BatchLoss:
        """The supernet's loss on one batch."""
        draws = Draws(seed, self.place.device)
        return BatchLoss(self.supernet, inputs, targets, draws, self.place, objective=self.objective)

    def state(self) -> State:
        """Everything that moves. Raises `Diverged` rather than let anything after a fault be saved."""
        self.watch.check()
        return {
            "supernet": self.supernet.state_dict(),
            "alphas": dict(self.alphas),
            "sgd": optimizer_state(self.weight_optimizer, self.weights),
            "adam": optimizer_state(self.alpha_optimizer, self.alphas),
        }

    def check_same(self, where: str) -> None:
        """Raise `Refused` unless weights and alphas are the same to the last bit in all processes."""
        self.place.processes.check_same({**self.weights, **self.alphas}, where)

    def restore(self, state: State) -> None:
        """Take up what `state` gave."""
        self.watch.clear()
        self.supernet.load_state_dict(state["supernet"])
        self.set_alphas(state["alphas"])
        restore_optimizer(self.weight_optimizer, self.weights, state["sgd"])
        restore_optimizer(self.alpha_optimizer, self.alphas, state["adam"])

    def move_alphas(self, given: Given) -> dict[str, Measured]:
        """The alphas' part of a step. It launches, and waits for nothing."""
        training, search = self.half("training", given), self.half("search", given)
        settings = self.settings.weights
        states = {name: self.weight_optimizer.state.get(weight, {}) for name, weight in self.weights.items()}
        buffers = {name: s["momentum_buffer"] for name, s in states.items() if s.get("momentum_buffer") is not None}
        rate = learning_rate_of(self.weight_optimizer)
        descent = Descent(rate, settings.momentum, settings.weight_decay, settings.nesterov, buffers)
        probabilities = self.probabilities()
        mixture = expand(probabilities, self.groups)
        found = self.method.hypergradient(search, training, mixture, self.weights, descent)
        norms = torch.cat([values.flatten(1).norm(dim=1) for values in found.layers.values()])
        self.watch.look("alphas", found.loss, _layers(found.layers), norms)
        penalty = self.method.penalty(Relaxed.of(self.groups, self.alphas, probabilities, given.progress, self.aim))
        # One scalar whose gradient is the chain through the relaxation: Σ ∂L/∂p·p + penalty.
        chain = sum(((found.layers[name] * values).sum() for name, values in mixture.items()), start=penalty)
        for alphas, gradient in zip(
            self.alphas.values(), torch.autograd.grad(chain, list(self.alphas.values())), strict=True
        ):
            alphas.grad = laid_out(gradient, alphas)
        self.alpha_optimizer.step()
        search.carry()
        alignment = mean_alignment(found.layers, self.groups)
        measured = {"loss": found.loss, "alignment": alignment, "penalty": penalty.detach(), "outputs": search.outputs}
        return {"search": measured}

    def announce(self, given: Given, what: str) -> None:
        """Tell the watch of a part of a step that comes, the ``alphas'`` or the ``weights'``."""
        *_, before, number = given.key  # steps and epochs, counted through all stages; a person counts from 1
        epoch = before if isinstance(before, int) else given.progress.epoch
        where = f"the {what}' step {int(number) + 1} of {given.key[0]} epoch {epoch + 1}"
        advice = (
            f"the learning rate is {given.learning_rate:.4g} (search.weights.learning_rate), the perturbation "
            f"{self.method.perturbation}; try a smaller one of either, or --on-nan rollback"
        )
        self.watch.announce(Look(what, where, advice))

    def move_weights(self, given: Given) -> dict[str, Measured]:
        """The weights' part of a step. It launches, and waits for nothing."""
        training = self.half("training", given)
        relaxation, edits = self.method.relaxation, self.edits
        clean: Mixture = expand({name: relaxation(a.detach()) for name, a in self.alphas.items()}, self.groups)
        chosen = {group.name: clean[group.name] for group in searchable(self.groups)}
        others = {name: values for name, values in clean.items() if name not in chosen}

        def whole(part: Mixture) -> Mixture:
            completed = {**part, **others}
            return edits.apply(completed) if edits else completed

        loss: Loss = ChangedLoss(training, whole) if edits or others else training
        mixture = whole(self.method.perturbation(chosen, loss, relaxation, given.progress, given.draws["perturbation"]))
        found = self.method.alignment(training, mixture, self.weights, self.groups, given.progress)
        norm = self.watch.look("weights", found.loss, list(found.weights), norms_of(found.weights.values()))
        clipped_step(self.weight_optimizer, self.weights, found.weights, norm, self.settings.weights.clip)
        training.carry()
        average_statistics(self.supernet, self.place.processes)
        alignment = mean_alignment(found.layers, self.groups)
        return {"train": {"loss": training.plain, "alignment": alignment, "outputs": training.outputs}}

    def record(self, epoch: Epoch, sums: Sums) -> Record:
        """How the supernet stands after an epoch, and what its steps measured."""
        probabilities = {name: values.detach().cpu() for name, values in self.probabilities().items()}
        alphas = {name: values.detach().cpu() for name, values in self.alphas.items()}
        penalty, relaxed = self.method.penalty, Relaxed.of(self.groups, alphas, probabilities, epoch.progress, self.aim)
        more = penalty.report(relaxed) if isinstance(penalty, Reports) else {}
        return {
            **self.objective_record(sums, "train"),
            **self.objective_record(sums, "search"),
            "metric": asdict(self.objective.metric),
            "learning_rate": epoch.learning_rate,
            "mixture": mixture_statistics(probabilities, self.groups),
            "alignment": {"train": sums.mean("train_alignment"), "search": sums.mean("search_alignment")},
            "skip_share": skip_share(probabilities, self.groups),
            "penalty": sums.mean("penalty"),
            **more,
            "alphas": {name: values.tolist() for name, values in alphas.items()},
        }

    def objective_record(self, sums: Sums, half: str) -> Record:
        """What the objective says of a half of the data, ``train`` or ``search``."""
        metric, loss = self.objective.metric.name, sums.mean(f"{half}_loss")
        derived = {} if loss is None else self.objective.derived(loss)
        # The loss may itself be the metric that counts.
        found = {f"{half}_loss": loss} | ({f"{half}_{metric}": None} if metric != "loss" else {})
        metrics = sums.metrics(half, self.objective.running)
        return found | metrics | {f"{half}_{name}": value for name, value in derived.items()}
