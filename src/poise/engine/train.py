"""Retraining a discrete network from scratch, and evaluating it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from poise.data.batched import Batched, Passing
from poise.engine.captured import Backend, Captured, backend_of
from poise.engine.checkpoint import State
from poise.engine.checkpointer import Checkpointer
from poise.engine.compiled import Compiled
from poise.engine.device import Place
from poise.engine.divergence import Look, Watch, norms_of
from poise.engine.events import Listener, ignore
from poise.engine.loop import Course, Record, Sums, run
from poise.engine.objective import CLASSES, CrossEntropy, Objective, mean_loss, measured, uneven
from poise.engine.schedule import learning_rate
from poise.engine.settings import TrainSettings
from poise.engine.sgd import clipped_step, optimizer_state, restore_optimizer, set_learning_rate, sgd
from poise.engine.streams import handed, seed_of, stream
from poise.errors import Refused
from poise.spaces.space import has_heads
from poise.supernet.draws import Draws
from poise.supernet.global_norm import average_statistics, globally, locally
from poise.supernet.trees import arguments, called, count_of, mapped


class Forward(nn.Module):
    """The forward pass of a training step: a network, its auxiliary head if it has one, and their losses.

    ``objective``: None is cross-entropy with the settings' label smoothing. ``answer`` is what calls the network:
    ``answer(inputs, ...) -> outputs, the auxiliary head's or None``.
    """

    def __init__(
        self, network: nn.Module, settings: TrainSettings, place: Place, objective: Objective | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self._auxiliary = settings.auxiliary
        self._drops = settings.drop_path > 0
        self.objective: Objective = objective or CrossEntropy(settings.label_smoothing)
        self._place = place
        self.answer: Callable[..., tuple[Any, Any]] = network.heads if has_heads(network) else self._outputs

    def forward(self, inputs: Any, targets: Any, drop: float, draws: Draws) -> tuple[Any, Tensor, Tensor]:
        """Outputs, their loss, and the loss to descend, with drop-path probability ``drop``. Of several processes each
        has its rows of the ``inputs``, and all get all outputs."""
        processes, count = self._place.processes, count_of(targets)
        chance, given = handed(self.network, draws.again(), self._place.device, processes, count)
        if has_heads(self.network) and self._drops:  # in every epoch, so that all compute alike
            kept = draws.kept((self.network.paths, count, 1, 1, 1), drop)[:, processes.rows(count)]
            given["kept"] = kept.to(self._place.dtype) / (1 - drop)
        with chance, self._place.autocast():
            found, side = self.answer(inputs, **given)
        outputs = self._place.float(found)
        loss = total = mean_loss(self.objective, outputs, targets, processes)
        if side is not None:
            total = loss + self._auxiliary * mean_loss(self.objective, self._place.float(side), targets, processes)
        return processes.gathered(outputs, count), loss, total

    def _outputs(self, inputs: Any, **given: Any) -> tuple[Any, None]:
        args, options = arguments(inputs)
        return self.network(*args, **options, **given), None


@dataclass(eq=False)
class NetworkDescent:
    """The weights of a network in training, and how they move: what every retraining has.

    Args:
        network: trained in place.
        settings: epochs, optimizer and its schedule.
        place: device and precision.
        seed: of every random stream.
        rate: multiplies the learning rate.
    """

    network: nn.Module
    settings: TrainSettings
    place: Place
    seed: int
    rate: float = 1.0
    epoch: int = field(default=0, init=False)
    learning_rate: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.place.put(self.network)
        if self.settings.normalisation == "global":
            self.network = globally(self.network, self.place.processes)
        self.weights = dict(self.network.named_parameters())
        alone = self.place.processes.alone
        self.backend: Backend | None = backend_of(self.place.device, self.settings.capture) if alone else None
        self.watch = Watch(self.place.device, waits=not self.place.processes.alone)
        self.optimizer = sgd(self.weights, self.settings.weights, self.watch.fault)

    def begin(self, epoch: int) -> torch.Generator:
        """Get ready for an epoch; returns the generator of its order."""
        self.epoch, self.learning_rate = epoch, self.rate * learning_rate(self.settings, epoch)
        self.network.train()
        return stream(self.seed, "train order", epoch)

    def captured(self, listen: Listener) -> Captured:
        """What captures steps, if anything does."""
        found = Captured(self.backend, listen, watch=self.settings.compile == "off")
        found.hand_draws_to(self.network, "network")
        return found

    def draws(self, number: int, captured: Captured) -> Draws:
        """The random numbers of a step."""
        return captured.draws("train", seed_of(self.seed, "train", self.epoch, number), self.place.device)

    def announce(self, number: int, pace: float = 1.0) -> None:
        """The host's part before a step: its learning rate, and what is said if it diverges."""
        rate = self.learning_rate * pace
        set_learning_rate(self.optimizer, rate)
        where = f"step {number + 1} of epoch {self.epoch + 1} of the training"
        advice = f"try a smaller train.weights.learning_rate (now {rate:.4g}), or --on-nan rollback"
        self.watch.announce(Look("weights", where, advice))

    def move(self, loss: Tensor) -> None:
        """Descend this loss by clipped gradients; weights that it does not depend on stay where they are. It launches,
        and waits for nothing."""
        self.optimizer.zero_grad()
        trained = {name: weight for name, weight in self.weights.items() if weight.requires_grad}
        found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        processes, own = self.place.processes, [values for values in found if values is not None]
        names = [name for name, values in zip(trained, found, strict=True) if values is not None]
        gradients = dict(zip(names, processes.summed(own), strict=True))
        norm = self.watch.look("weights", loss, list(gradients), norms_of(gradients.values()))
        clipped_step(self.optimizer, self.weights, gradients, norm, self.settings.weights.clip)
        average_statistics(self.network, processes)

    def check_same(self) -> None:
        """Raise `Refused` unless the weights are the same to the last bit in all processes."""
        self.place.processes.check_same(self.weights, f"after epoch {self.epoch + 1}")

    def state(self) -> State:
        """Everything that moves. Raises `Diverged` rather than let anything after a fault be saved."""
        self.watch.check()
        return {"network": self.network.state_dict(), "sgd": optimizer_state(self.optimizer, self.weights)}

    def restore(self, state: State) -> None:
        self.watch.clear()
        self.network.load_state_dict(state["network"])
        restore_optimizer(self.optimizer, self.weights, state["sgd"])


class NetworkTrainer:
    """Trains a network. Satisfies `poise.engine.loop.Trainer`. ``objective`` is as in `Forward`."""

    def __init__(
        self,
        descent: NetworkDescent,
        batches: Batched,
        objective: Objective | None = None,
        listen: Listener = ignore,
    ) -> None:
        self._descent = descent
        self._batches = batches
        self._forward = Forward(descent.network, descent.settings, descent.place, objective)
        if descent.settings.compile == "on":
            self._forward.answer = Compiled(self._forward.answer, listen)
        self._captured = descent.captured(listen)
        self._drop = 0.0
        self.state, self.restore = descent.state, descent.restore

    @property
    def replays(self) -> bool:
        """Whether steps are replays by now."""
        return self._captured.replays

    def begin(self, epoch: int, first: int) -> Passing:
        self._captured.forget()
        self._drop = self._descent.settings.drop_path * epoch / self._descent.settings.epochs
        return self._batches.epoch(self._descent.begin(epoch), first)

    def step(self, number: int, batch: tuple[Any, Tensor], sums: Sums) -> None:
        _, targets = batch
        descent, objective = self._descent, self._forward.objective
        descent.announce(number)
        draws = descent.draws(number, self._captured)
        loss, outputs = self._captured(lambda given: self.move(draws, *given), batch)
        sums.add(loss=loss, loss_weight=uneven(objective, targets))
        sums.meter("train", objective.running).update(outputs, targets)
        descent.watch.visit()

    def move(self, draws: Draws, inputs: Any, targets: Any) -> tuple[Tensor, Any]:
        """The device's part of a step: it launches, and waits for nothing. The loss and the outputs."""
        outputs, loss, total = self._forward(inputs, targets, self._drop, draws)
        self._descent.move(total)
        return loss.detach(), mapped(Tensor.detach, outputs)

    def record(self, sums: Sums, history: Sequence[Mapping[str, Any]]) -> Record:
        self._descent.watch.check()
        self._descent.check_same()
        loss, objective = float(sums.mean("loss") or 0.0), self._forward.objective
        return {
            "train_loss": loss,
            **sums.metrics("train", objective.running),
            **{f"train_{name}": value for name, value in objective.derived(loss).items()},
            "metric": asdict(objective.metric),
            "learning_rate": self._descent.learning_rate,
            "drop_path": self._drop,
        }


def train(
    network: nn.Module,
    settings: TrainSettings,
    batches: Batched,
    place: Place,
    seed: int,
    listen: Listener = ignore,
    saver: Checkpointer | None = None,
    rate: float = 1.0,
    objective: Objective | None = None,
) -> list[Record]:
    """Train ``network`` in place, from the saver's start on; returns one record per epoch.

    SGD with a scheduled learning rate, clipped gradients, drop-path growing linearly to ``settings.drop_path``, and the
    auxiliary head's loss times ``settings.auxiliary`` (Liu et al., DARTS, arXiv:1806.09055, appendix A). ``objective``
    is as in `Forward`.

    Raises:
        Refused: drop-path or an auxiliary head asked of a network that has neither; the loss diverged.
    """
    if not has_heads(network) and (settings.drop_path or settings.auxiliary):
        raise Refused(f"{type(network).__name__} has no drop-path and no auxiliary head; set both to 0")
    trainer = NetworkTrainer(NetworkDescent(network, settings, place, seed, rate), batches, objective, listen)
    history = run(trainer, Course("train", settings.epochs, len(batches)), listen, saver or Checkpointer())
    locally(network).eval()
    return history


@torch.no_grad()
def evaluate(network: nn.Module, batches: Batched, place: Place, objective: Objective = CLASSES) -> dict[str, float]:
    """All metrics and the mean ``loss`` of a network, in evaluation mode, over everything."""
    network.eval()

    def answers(passing: Passing) -> Iterator[tuple[Any, Any]]:
        for inputs, targets in passing:
            with place.autocast():
                outputs = called(network, inputs)
            yield place.processes.gathered(place.float(outputs), count_of(targets)), targets

    with closing(batches.ordered()) as passing:
        return measured(answers(passing), objective)
