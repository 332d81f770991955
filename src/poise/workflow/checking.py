"""A module of your own is tried on two samples of its data before a run begins, so that what cannot work is said in one
line, before anything is written."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from poise.data.batched import Batched
from poise.engine.device import Place
from poise.engine.objective import CLASSES, Objective
from poise.engine.streams import seeded
from poise.errors import Refused
from poise.spaces.custom import ModuleSpace
from poise.spaces.space import ImageShape, Shape, Space
from poise.supernet.choice import Choice, described
from poise.supernet.intact import copied
from poise.supernet.observed import observed
from poise.supernet.supernet import ModuleSupernet
from poise.supernet.trees import Tree, arguments

SAMPLES = 2
TRIES = 4
"""Forward passes in which every `Choice` must be reached: a module may skip some of its layers by chance."""


def check_own(
    space: Space, network: nn.Module, batches: Batched, shape: Shape, place: Place, objective: Objective = CLASSES
) -> None:
    """One forward and backward pass of a copy of a person's own module, or of a supernet of it, as in a run; nothing
    for the spaces of poise. The module and all random numbers stay as they are.

    Raises:
        Refused: it cannot run or be differentiated, its outputs are none that the objective can judge, it has nothing
            to train, or a `Choice` in it is never reached, or of no influence.
    """
    if not isinstance(space, ModuleSpace):
        return
    module = network.module if isinstance(network, ModuleSupernet) else network
    name, of = type(module).__name__, "images" if isinstance(shape, ImageShape) else "inputs"
    lazy = next((path for path, value in _values(module) if is_lazy(value)), None)
    if lazy is not None:
        raise Refused(f"{name} has no values for {lazy!r} yet; call it once, on a batch of {of}, before it is used")
    weights = list(module.parameters())
    if not any(weight.requires_grad for weight in weights):
        what = "all weights are frozen (requires_grad is False)" if weights else "it has no weights"
        raise Refused(f"{name} cannot be trained: {what}")
    trial = Trial(place.put(copy.deepcopy(module)), shape, of, place, objective)
    with _numbers_kept():
        try:
            trial.run(*batches.first(min(SAMPLES, batches.batch_size)))
        except Refused as refusal:
            try:  # some only work on batches of a certain size
                trial.run(*batches.first(batches.batch_size))
            except Refused:
                raise refusal from None


@dataclass(frozen=True)
class Trial:
    """A module to try, and what its outputs should be; ``of`` is what its inputs are called."""

    module: nn.Module
    shape: Shape
    of: str
    place: Place
    objective: Objective

    @property
    def name(self) -> str:
        return type(self.module).__name__

    def run(self, inputs: Tree, targets: Tree) -> None:
        """Raise `Refused` unless the module works on these inputs, in training and in evaluation."""
        module, name = self.module, self.name
        choices = {path: layer for path, layer in module.named_modules() if isinstance(layer, Choice)}
        mixture = {path: layer.mixture.detach().clone().requires_grad_() for path, layer in choices.items()}
        rows = {f"{path}.mixture" if path else "mixture": row for path, row in mixture.items()}
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        reached: set[str] = set()
        for seed in range(TRIES):
            with observed(module) as calls:
                module.train()
                outputs = self._outputs(rows, inputs, targets, seed)
            reached |= {path for path, found in calls.items() if found}
            if reached == set(calls):
                break
        for path in calls:
            if path not in reached:
                raise Refused(
                    f"{name} never reaches Choice {path!r} in its forward, so there is nothing to search there"
                )
        loss = self.objective.loss(outputs, targets)
        if not loss.requires_grad:
            raise Refused(f"the outputs of {name} carry no gradient; does its forward detach them, or say no_grad?")
        try:
            gradients: Sequence[Tensor | None] = torch.autograd.grad(
                loss, [*rows.values(), *weights], allow_unused=True
            )
        except Exception as error:
            raise Refused(f"{name} cannot be differentiated: {_first_line(error)}") from None
        for path, gradient in zip(mixture, gradients[: len(mixture)], strict=True):
            if gradient is None and calls[path]:
                raise Refused(f"Choice {path!r} of {name} has no influence on the loss, so nothing is learnt about it")
        if all(gradient is None for gradient in gradients[len(mixture) :]):
            raise Refused(
                f"{name} cannot be trained: none of its weights that are not frozen has influence on the loss"
            )
        with torch.no_grad():
            module.eval()
            self._outputs({}, inputs, targets, 0)

    def _outputs(self, rows: dict[str, Tensor], inputs: Tree, targets: Tree, seed: int) -> Tree:
        """The module's outputs in a precision fit for a loss; those that cannot be judged are refused."""
        module, name, mode = self.module, self.name, "in training" if self.module.training else "in evaluation"
        running: list[tuple[str, nn.Module, tuple[Any, ...], dict[str, Any]]] = []
        args, options = copied(*arguments(inputs))
        with _followed(module, running), seeded(seed, self.place.device), self.place.autocast():
            try:
                outputs: Any = functional_call(module, rows, args, options)
            except Exception as error:
                given = list(inputs.shape) if self.of == "images" else _listed(*arguments(inputs))
                raise Refused(
                    f"{name} cannot run on {self.of} {given} {mode}{_where(running)}: {_first_line(error)}"
                ) from None
        puts_out = f"{name} puts out {described(outputs)} {mode}"
        if isinstance(outputs, Tensor) and not outputs.is_floating_point():
            raise Refused(f"{puts_out}, expected floating point numbers")
        found = self.place.float(outputs)
        try:
            self.objective.check(found, targets)
        except Refused as refusal:
            raise Refused(f"{puts_out}, {refusal}") from None
        count = self.shape.outputs or None  # 0: whatever the module puts out
        if isinstance(outputs, Tensor) and outputs.ndim > 1 and count not in (None, outputs.shape[1]):
            raise Refused(f"{puts_out}, expected {[len(outputs), count, *outputs.shape[2:]]}")
        return found


@contextmanager
def _followed(module: nn.Module, running: list[Any]) -> Iterator[None]:
    """Keeps in ``running`` which layers of the module are at work, the innermost last."""

    def enter(path: str, layer: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        running.append((path, layer, inputs, options))

    def leave(path: str, *_: Any) -> None:
        while running.pop()[0] != path:  # those below it that failed, and whose error was caught
            pass

    hooks = []
    for path, layer in module.named_modules():
        if isinstance(layer, torch.jit.ScriptModule):  # which takes no hooks
            continue
        hooks.append(layer.register_forward_pre_hook(partial(enter, path), with_kwargs=True, prepend=True))
        hooks.append(layer.register_forward_hook(partial(leave, path)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _where(running: list[Any]) -> str:
    """The innermost layer at work and what it was given; nothing if it is the module itself."""
    path, layer, inputs, options = running[-1] if running else ("", None, (), {})
    return f": {path!r} ({type(layer).__name__}) fails on {_listed(inputs, options)}" if path else ""


def _listed(inputs: tuple[Any, ...], options: dict[str, Any]) -> str:
    """What a module is called with."""
    values = [described(value) for value in inputs] + [f"{name}={described(options[name])}" for name in options]
    return ", ".join(values) or "nothing"


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "")
    return line if isinstance(error, Refused) else f"{type(error).__name__}: {line}"


def _values(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


@contextmanager
def _numbers_kept() -> Iterator[None]:
    """Python's and NumPy's random numbers go on afterwards as if nothing had been drawn; torch's see to themselves."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the stream that a module may draw from
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
