"""A module of your own on data that is no images: what cannot work is refused in the words of that data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import poise
from poise.data.sample_batches import SampleBatches
from poise.data.samples import Samples
from poise.data.standard import Standard
from poise.engine.device import Place
from poise.spaces import ModuleSpace
from poise.workflow.checking import check_own

COUNT = 12
LABELS = torch.arange(COUNT) % 3


def choice(inputs: int = 4) -> poise.Choice:
    return poise.Choice({"one": nn.Linear(inputs, 3), "two": nn.Sequential(nn.Linear(inputs, 5), nn.Linear(5, 3))})


class Own(nn.Module):
    """A `Choice`, and a forward that is given."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.layer = choice()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self._forward(self, *inputs, **options)


def check(module: nn.Module, inputs: Any, outputs: int | None = 3, batch_size: int = 4) -> None:
    samples = Samples(inputs, LABELS, ("a", "b", "c"))
    batches = SampleBatches(samples, batch_size, standard=Standard.of(inputs), device="cpu")
    space, shape = ModuleSpace(module), samples.shape(outputs)
    check_own(space, space.supernet(shape), batches, shape, Place.open("cpu", channels_last=False))


def rows() -> Tensor:
    return torch.randn(COUNT, 4)


def pops(own: Any, **batch: Any) -> Tensor:
    tokens = batch.pop("tokens")
    assert tokens.dtype == torch.int32, "whole numbers are handed on as they are"
    assert batch["mask"].dtype == torch.bool
    x = own.embedding(tokens) * batch.pop("mask")[..., None]
    return own.layer(batch["more"][0].add_(x.mean(1)))  # type: ignore[no-any-return]


WORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "rows": (lambda: Own(lambda own, x: own.layer(x)), rows),
    "float64": (lambda: Own(lambda own, x: own.layer(x)), lambda: rows().double()),
    "not contiguous": (lambda: Own(lambda own, x: own.layer(x.view(-1, 4))), lambda: torch.randn(4, COUNT).T),
    "batch norm": (lambda: Own(lambda own, x: own.layer(own.norm(x)), norm=nn.BatchNorm1d(4)), rows),
    "two by position": (lambda: Own(lambda own, x, y: own.layer(x + y)), lambda: (rows(), rows())),
    "a list": (lambda: Own(lambda own, x: own.layer(x.pop() + x.pop())), lambda: [rows(), rows()]),
    "a dict that is changed": (
        lambda: Own(pops, embedding=nn.Embedding(COUNT, 4)),
        lambda: {
            "tokens": torch.arange(COUNT * 5, dtype=torch.int32).reshape(COUNT, 5) % COUNT,
            "mask": torch.arange(COUNT * 5).reshape(COUNT, 5) % 2 == 0,
            "more": [rows()],
        },
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_what_works_is_not_refused(name: str) -> None:
    make, inputs = WORKS[name]
    check(make(), inputs())


BROKEN: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any], str]] = {
    "too few features": (
        lambda: Own(lambda own, x: own.layer(x)),
        lambda: torch.randn(COUNT, 3),
        r"inputs \[2, 3\] float32 in training: 'layer.candidates.one' \(Linear\) fails on \[2, 3\] float32: ",
    ),
    "a missing input": (
        lambda: Own(lambda own, x, scale: own.layer(x)),
        lambda: {"x": rows()},
        r"Own cannot run on inputs x=\[2, 4\] float32 in training: TypeError: .*'scale'",
    ),
    "one input too many": (
        lambda: Own(lambda own, x: own.layer(x)),
        lambda: (rows(), torch.arange(COUNT)),
        r"Own cannot run on inputs \[2, 4\] float32, \[2\] int64 in training: TypeError: ",
    ),
    "without values": (
        lambda: Own(lambda own, x: own.layer(own.head(x)), head=nn.LazyLinear(4)),
        rows,
        "call it once, on a batch of inputs, before it is used",
    ),
    "too few outputs": (
        lambda: Own(lambda own, x: own.layer(x)[:, :2]),
        rows,
        r"Own puts out \[2, 2\] float32 in training, expected .*\[2, 3\]",
    ),
    "ids": (lambda: Own(lambda own, x: own.layer(x).argmax(1)), rows, r"\[2\] int64 in training, expected floating"),
    "a dict": (lambda: Own(lambda own, x: {"y": own.layer(x)}), rows, "Own puts out a dict of 'y' in training, expec"),
    "no gradient": (
        lambda: Own(lambda own, x: own.layer(x).detach()),
        rows,
        "the outputs of Own carry no gradient",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_work_is_refused_and_no_image_is_spoken_of(name: str) -> None:
    make, inputs, message = BROKEN[name]
    with pytest.raises(poise.Refused, match=message) as refused:
        check(make(), inputs())
    assert "\n" not in str(refused.value)
    assert "image" not in str(refused.value)
