"""A module of your own that cannot work is refused in one line, before anything is written; one that can is not touched
by the check."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import poise
from poise.genotype import Genotype
from poise.spaces import ModuleSpace
from poise.workflow import checking

TINY: dict[str, Any] = {"search.epochs": 1, "search.images_per_half": 32, "search.batch_size": 16}
TRAIN: dict[str, Any] = {"train.epochs": 1, "train.batch_size": 512}


def choice(inputs: int = 64, outputs: int = 10) -> poise.Choice:
    return poise.Choice({"one": nn.Linear(inputs, outputs), "two": nn.Linear(inputs, outputs)})


class Own(nn.Module):
    """A `Choice` and a head, and a forward that is given."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.layer = choice(64, 16)
        self.head = nn.Linear(16, 10)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, images: Tensor, *more: Any) -> Any:
        return self._forward(self, images, *more)


def plain(own: Any, images: Tensor) -> Any:
    return own.head(own.layer(images.flatten(1)))


def no_gradient(own: Any, images: Tensor) -> Any:
    with torch.no_grad():
        return plain(own, images)


def twice_in_place(own: Any, images: Tensor) -> Any:
    x = own.layer(images.flatten(1)).exp()
    x.add_(1)  # the exponential's gradient needs what it put out
    return own.head(x)


def in_evaluation(own: Any, images: Tensor) -> Any:
    return plain(own, images) if own.training else {"logits": plain(own, images)}


def frozen(own: Own) -> Own:
    return own.requires_grad_(False)  # type: ignore[no-any-return]


def blank() -> nn.Module:
    return nn.Sequential(poise.Choice({"a": nn.Identity(), "b": nn.Tanh()}), nn.AdaptiveAvgPool1d(10), nn.Flatten())


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = choice()

    def forward(self, images: Tensor, context: Tensor) -> Tensor:
        return self.layer(images.flatten(1)) + context  # type: ignore[no-any-return]


BROKEN: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "dict": (
        lambda: Own(lambda own, x: {"logits": plain(own, x), "features": x}),
        r"Own puts out a dict of 'logits', 'features' in training, expected logits \[2, (10|classes)\]",
    ),
    "tuple": (lambda: Own(lambda own, x: (plain(own, x), x)), "Own puts out a tuple of 2 in training"),
    "None": (lambda: Own(lambda own, x: None), "Own puts out None in training"),
    "a number": (lambda: Own(lambda own, x: plain(own, x).mean()), r"Own puts out \[\] float32 in training"),
    "fewer outputs": (
        lambda: Own(plain, head=nn.Linear(16, 3)),
        r"puts out \[2, 3\] float32 in training, expected .*\[2, 10\]",
    ),
    "more outputs": (lambda: Own(plain, head=nn.Linear(16, 1000)), r"puts out \[2, 1000\] float32"),
    "maps": (lambda: Own(lambda own, x: plain(own, x)[:, :, None, None]), r"puts out \[2, 10, 1, 1\]"),
    "classes": (lambda: Own(lambda own, x: plain(own, x).argmax(1)), r"puts out \[2\] int64"),
    "in evaluation": (lambda: Own(in_evaluation), "Own puts out a dict of 'logits' in evaluation"),
    "recurrent": (
        lambda: Own(plain, layer=poise.Choice({"gru": nn.GRU(64, 16), "linear": nn.Linear(64, 16)})),
        r"Own cannot run on images \[2, 1, 8, 8\] in training: 'layer' \(Choice\) fails on \[2, 64\] float32: "
        "candidate 'gru' of a Choice puts out a tuple of 2, expected a tensor",
    ),
    "shapes": (
        lambda: Own(plain, layer=poise.Choice({"wide": nn.Linear(64, 16), "thin": nn.Linear(64, 1)})),
        r"'layer' \(Choice\) fails on .*\[2, 16\] float32 from 'wide' and \[2, 1\] float32 from 'thin'",
    ),
    "two inputs": (Two, r"Two cannot run on images \[2, 1, 8, 8\] in training: TypeError: .*'context'"),
    "a head that does not fit": (
        lambda: Own(plain, head=nn.Linear(17, 10)),
        r"training: 'head' \(Linear\) fails on \[2, 16\] float32: RuntimeError: mat1 and mat2 shapes",
    ),
    "a candidate that does not fit": (
        lambda: Own(plain, layer=poise.Choice({"a": nn.Linear(64, 16), "b": nn.Sequential(nn.Linear(32, 16))})),
        r"'layer.candidates.b.0' \(Linear\) fails on \[2, 64\] float32: RuntimeError: mat1",
    ),
    "an error of its own": (
        lambda: Own(lambda own, x: own.nothing),
        "Own cannot run on .*: AttributeError: 'Own' object has no attribute 'nothing'",
    ),
    "never reached": (lambda: Own(plain, extra=choice()), "Own never reaches Choice 'extra' in its forward"),
    "no influence": (
        lambda: Own(lambda own, x: plain(own, x) + 0 * own.extra(x.flatten(1)).detach(), extra=choice()),
        "Choice 'extra' of Own has no influence on the loss",
    ),
    "frozen": (lambda: frozen(Own(plain)), r"Own cannot be trained: all weights are frozen"),
    "without weights": (blank, "Sequential cannot be trained: it has no weights"),
    "without values": (lambda: Own(plain, head=nn.LazyLinear(10)), "Own has no values for 'head.weight' yet"),
    "without gradient": (lambda: Own(no_gradient), "the outputs of Own carry no gradient"),
    "not differentiable": (lambda: Own(twice_in_place), "Own cannot be differentiated: RuntimeError: one of the var"),
}
OF_CHOICES = ("recurrent", "shapes", "a candidate that does not fit", "never reached", "no influence")


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_work_is_refused_by_a_search_before_anything_is_written(name: str, tmp_path: Path) -> None:
    make, message = BROKEN[name]
    with pytest.raises(poise.Refused, match=message) as refused:
        poise.search(make(), "digits", method="darts", preset="demo", settings=TINY, out=tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name in BROKEN if name not in OF_CHOICES])
def test_and_by_a_training(name: str, tmp_path: Path) -> None:
    make, message = BROKEN[name]
    space = ModuleSpace(make())
    genotype = Genotype("custom", {g.name: {"choice": (g.rows[0].candidates[0],)} for g in space.groups})
    with pytest.raises(poise.Refused, match=message) as refused:
        poise.train(genotype, "digits", space=space, preset="demo", settings=TRAIN, out=tmp_path / "net")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


class Notes(nn.Module):
    """Everything that a check might disturb: statistics, attributes, and random numbers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.layer = poise.Choice({"one": nn.Linear(64, 10), "two": nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 10))})
        self.calls: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append(images)
        noise = random.random() + np.random.rand() + torch.rand(1)  # noqa: NPY002
        return self.layer((self.norm(images) + noise).flatten(1))  # type: ignore[no-any-return]


def seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


def test_the_check_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Notes()
    before = copy.deepcopy(module.state_dict())

    def run() -> tuple[poise.SearchResult, tuple[float, ...]]:
        seeds()
        found = poise.search(module, "digits", method="darts", preset="demo", settings=TINY)
        return found, (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002

    checked, drawn = run()
    assert not module.calls
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    monkeypatch.setattr(checking.Trial, "run", lambda *_: None)
    unchecked, expected = run()
    assert drawn == expected
    calls = [len(found.supernet.module.calls) for found in (checked, unchecked)]  # type: ignore[union-attr,arg-type]
    assert calls[0] == calls[1] > 0
    for name, value in checked.supernet.state_dict().items():
        assert torch.equal(value, unchecked.supernet.state_dict()[name]), name
    assert torch.equal(checked.alphas["layer"], unchecked.alphas["layer"])
    assert torch.equal(checked.supernet.module.calls[0], unchecked.supernet.module.calls[0])  # type: ignore[union-attr,index,arg-type]


class Groups(nn.Module):
    """Works on batches of whole groups of four alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = choice(256, 40)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.view(-1, 256)).view(-1, 10)  # type: ignore[no-any-return]


class Skips(nn.Module):
    """Leaves a layer out by chance: in training, or always."""

    def __init__(self, always: bool = False) -> None:
        super().__init__()
        self.first, self.second = choice(64, 10), choice(10, 10)
        self.always = always

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(images.flatten(1))
        skips = (self.training or self.always) and torch.rand(()) < 0.5
        return x if skips else x + self.second(x)  # type: ignore[no-any-return]


class Single(nn.Module):
    """A batch norm after pooling has one value of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = poise.Choice([nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)])
        self.norm, self.heads = nn.BatchNorm2d(4), nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.heads(self.norm(self.layer(images).mean((2, 3), keepdim=True)).flatten(1))  # type: ignore[no-any-return]


class Unused(nn.Module):
    """Some of its weights are frozen and some are of no use."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 16).requires_grad_(False)
        self.layer, self.spare = choice(16, 10), nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(self.stem(images.flatten(1)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [Groups, Skips, Single, Unused])
def test_what_works_is_not_refused(make: Callable[[], nn.Module]) -> None:
    settings = TINY | {"search.images_per_half": 64, "train.epochs": 1, "train.batch_size": 8}
    found = poise.search(make(), "digits", method="darts", preset="demo", settings=settings, seed=2)
    assert found.module(torch.randn(4, 1, 8, 8)).shape == (4, 10)


@pytest.mark.parametrize("method", ["sdarts-adv", "sdarts-adv-exact", "darts-2nd", "poise"])
def test_every_part_of_a_step_may_leave_a_choice_out(method: str) -> None:
    found = poise.search(Skips(always=True), "digits", method=method, preset="demo", settings=TINY, seed=2)
    assert set(found.genotype.choices) == {"first", "second"}


def test_a_layer_called_heads_is_no_auxiliary_head() -> None:
    found = poise.search(Single(), "digits", method="darts", preset="demo", settings=TINY)
    assert poise.train(found, settings=TRAIN).result["test_accuracy"] >= 0


def test_the_spaces_of_poise_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking.Trial, "run", lambda *_: pytest.fail("tried"))
    space = poise.spaces.nasbench201(channels=2, cells=1)
    assert poise.search("digits", space=space, method="darts", preset="demo", settings=TINY).alphas
