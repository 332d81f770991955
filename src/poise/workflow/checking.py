"""A module of your own is tried on two images before a run begins, so that what cannot work is said in one line, before
anything is written."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from poise.data.batched import Batched
from poise.engine.device import Place
from poise.engine.objective import CLASSES
from poise.engine.streams import seeded
from poise.errors import Refused
from poise.spaces.custom import ModuleSpace
from poise.spaces.space import ImageShape, Space
from poise.supernet.choice import Choice, described
from poise.supernet.observed import observed
from poise.supernet.supernet import ModuleSupernet

IMAGES = 2
TRIES = 4
"""Forward passes in which every `Choice` must be reached: a module may skip some of its layers by chance."""


def check_own(space: Space, network: nn.Module, batches: Batched, task: ImageShape, place: Place) -> None:
    """One forward and backward pass of a copy of a person's own module, or of a supernet of it, as in a run; nothing
    for the spaces of poise. The module and all random numbers stay as they are.

    Raises:
        Refused: it cannot run or be differentiated, its outputs are not logits of the task's classes, it has nothing to
            train, or a `Choice` in it is never reached, or of no influence.
    """
    if not isinstance(space, ModuleSpace):
        return
    module = network.module if isinstance(network, ModuleSupernet) else network
    name = type(module).__name__
    lazy = next((path for path, value in _values(module) if is_lazy(value)), None)
    if lazy is not None:
        raise Refused(f"{name} has no values for {lazy!r} yet; call it once, on a batch of images, before it is used")
    weights = list(module.parameters())
    if not any(weight.requires_grad for weight in weights):
        what = "all weights are frozen (requires_grad is False)" if weights else "it has no weights"
        raise Refused(f"{name} cannot be trained: {what}")
    module = place.put(copy.deepcopy(module))
    with _numbers_kept():
        try:
            _try(module, *batches.first(min(IMAGES, batches.batch_size)), task, place)
        except Refused as refusal:
            try:  # some only work on batches of a certain size
                _try(module, *batches.first(batches.batch_size), task, place)
            except Refused:
                raise refusal from None


def _try(module: nn.Module, images: Tensor, labels: Tensor, task: ImageShape, place: Place) -> None:
    """Raise `Refused` unless the module works on these images, in training and in evaluation."""
    name = type(module).__name__
    choices = {path: layer for path, layer in module.named_modules() if isinstance(layer, Choice)}
    mixture = {path: layer.mixture.detach().clone().requires_grad_() for path, layer in choices.items()}
    rows = {f"{path}.mixture" if path else "mixture": row for path, row in mixture.items()}
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    reached: set[str] = set()
    for seed in range(TRIES):
        with observed(module) as calls:
            logits = _logits(module.train(), rows, images, task, place, seed)
        reached |= {path for path, found in calls.items() if found}
        if reached == set(calls):
            break
    for path in calls:
        if path not in reached:
            raise Refused(f"{name} never reaches Choice {path!r} in its forward, so there is nothing to search there")
    loss = CLASSES.loss(place.float(logits), labels)
    if not loss.requires_grad:
        raise Refused(f"the logits of {name} carry no gradient; does its forward detach them, or say no_grad?")
    try:
        gradients: Sequence[Tensor | None] = torch.autograd.grad(loss, [*rows.values(), *weights], allow_unused=True)
    except Exception as error:
        raise Refused(f"{name} cannot be differentiated: {_first_line(error)}") from None
    for path, gradient in zip(mixture, gradients[: len(mixture)], strict=True):
        if gradient is None and calls[path]:
            raise Refused(f"Choice {path!r} of {name} has no influence on the logits, so nothing is learnt about it")
    if all(gradient is None for gradient in gradients[len(mixture) :]):
        raise Refused(f"{name} cannot be trained: none of its weights that are not frozen has influence on the logits")
    with torch.no_grad():
        _logits(module.eval(), {}, images, task, place, 0)


def _logits(
    module: nn.Module, rows: dict[str, Tensor], images: Tensor, task: ImageShape, place: Place, seed: int
) -> Tensor:
    """The module's logits; anything else is refused."""
    name, mode = type(module).__name__, "in training" if module.training else "in evaluation"
    running: list[tuple[str, nn.Module, tuple[Any, ...], dict[str, Any]]] = []
    given = images.clone()
    with _followed(module, running), seeded(seed, place.device), place.autocast():
        try:
            logits: Any = functional_call(module, rows, (given,))
        except Exception as error:
            raise Refused(
                f"{name} cannot run on images {list(images.shape)} {mode}{_where(running)}: {_first_line(error)}"
            ) from None
    shape = (len(images), task.outputs)
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.shape != shape:
        raise Refused(
            f"{name} puts out {described(logits)} {mode}, expected logits alone, {list(shape)}, for {len(images)} "
            f"images of {task.outputs} classes"
        )
    return logits


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
    if not path:
        return ""
    values = [described(value) for value in inputs] + [f"{name}={described(options[name])}" for name in options]
    return f": {path!r} ({type(layer).__name__}) fails on {', '.join(values) or 'nothing'}"


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
