"""What a module of one's own costs: counted by hand, on the networks themselves, and measured on what a Choice gets."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.costs.costs import Costs
from poise.costs.counting import Uncounted, cost_of, count, total
from poise.costs.latency import Form, parse_table
from poise.costs.timing import measure
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces import ImageShape, Input, ModuleSpace, SampleShape
from poise.spaces.space import genotype_of
from poise.supernet.choice import Choice
from poise.supernet.groups import Kept

TASK = ImageShape(3, (6, 5), 4)
CPU = torch.device("cpu")


class Twice(nn.Module):
    """Two linear layers that share one matrix."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class Mixer(nn.Module):
    """Products that no layer is responsible for; ``scale`` is a keyword."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(width))

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        return scale * torch.einsum("bnc,cd->bnd", x, self.matrix)


class Scaled(nn.Module):
    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor, *, scale: float) -> Tensor:
        return x.mul_(scale) if self.inplace else scale * x


class Own(nn.Module):
    """A Choice that is called twice, a group of two sizes, keywords, work in place, and code that reads values."""

    def __init__(self, widths: tuple[int, int] = (4, 6), dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        a, b = widths
        self.calls: list[int] = []
        self.bias = nn.Parameter(torch.zeros(a))
        self.stem = nn.Conv2d(3, a, 3, padding=1)
        self.twice = Choice({"conv": nn.Conv2d(a, a, 3, padding=1), "relu": nn.ReLU(inplace=True)})
        self.small = Choice({"one": nn.Conv2d(a, b, 1), "three": nn.Conv2d(a, b, 3, padding=1)}, group="kernel")
        self.large = Choice({"one": nn.Conv2d(b, b, 1), "three": nn.Conv2d(b, b, 3, padding=1)}, group="kernel")
        self.mixer = Choice({"product": Mixer(b), "scaled": Scaled(False), "inplace": Scaled(True)})
        self.head = nn.Linear(b, 4)
        self.to(dtype)

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append(len(images))
        x = self.twice(self.twice(self.stem(images))) + self.bias[:, None, None]
        if torch.isnan(x).any().item():
            raise ValueError("not a number")
        x = x + 0 * torch.rand(1, dtype=x.dtype)
        tokens = self.large(self.small(x)).flatten(2).transpose(1, 2)
        return self.head(self.mixer(tokens, scale=0.5).mean(dim=1) + torch.zeros(self.head.in_features))


def counted(module: nn.Module, metric: str = "macs", task: ImageShape = TASK) -> Costs:
    return count(ModuleSpace(module), task, metric)


def costs_of(costs: Costs, group: str) -> list[float]:
    return costs.candidates[group][0].tolist()


def test_a_module_by_hand() -> None:
    macs, parameters = counted(Own()), counted(Own(), "parameters")
    pixels = 6 * 5
    assert macs.fixed == 4 * 3 * 9 * pixels + 6 * 4
    assert parameters.fixed == 4 + (4 * 3 * 9 + 4) + (6 * 4 + 4)
    assert costs_of(macs, "twice") == [2 * 4 * 4 * 9 * pixels, 0], "called twice"
    assert costs_of(parameters, "twice") == [4 * 4 * 9 + 4, 0], "and there once"
    assert costs_of(macs, "kernel") == [(6 * 4 + 6 * 6) * pixels, 9 * (6 * 4 + 6 * 6) * pixels], "all layers of a group"
    assert costs_of(parameters, "kernel") == [6 * 4 + 6 * 6 + 12, 9 * (6 * 4 + 6 * 6) + 12]
    assert costs_of(macs, "mixer") == [6 * 6 * pixels, 0, 0], "no layer of torch's"
    assert costs_of(parameters, "mixer") == [36, 0, 0]


def test_counting_leaves_the_module_and_the_random_numbers_alone() -> None:
    module = Own().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    counted(module)
    cost_of(ModuleSpace(module), _genotype(module, 0), TASK, "macs")
    assert module.calls == []
    assert module.training
    assert isinstance(module.twice, Choice)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def _genotype(module: nn.Module, seed: int) -> Genotype:
    return genotype_of("custom", _kept(module, seed), ModuleSpace(module).groups)


def _kept(module: nn.Module, seed: int) -> Kept:
    draw = random.Random(seed)
    return {group.name: ((draw.randrange(group.shape[1]),),) for group in ModuleSpace(module).groups}


class Random(nn.Module):
    """Convolutions, activations, attention and products side by side, some of them shared, in groups or repeated."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        width = 2 * draw.randint(1, 3)
        self.stem = nn.Conv2d(3, width, 3, stride=draw.choice((1, 2)), groups=1)
        shared = nn.ReLU(inplace=True)
        self.layers = nn.ModuleList()
        self.order: list[int] = []
        for number in range(draw.randint(1, 4)):
            choice = Choice(
                {
                    "conv": nn.Conv2d(width, width, 3, padding=1, groups=draw.choice((1, width))),
                    "act": shared,
                    "up": nn.Sequential(nn.ConvTranspose2d(width, 3, 2, stride=2), nn.Conv2d(3, width, 2, stride=2)),
                    "attention": Attention(width),
                },
                group=draw.choice((None, "group")),
            )
            self.layers.append(choice)
            self.order += [number] * draw.randint(1, 2)
        self.head = nn.Linear(width, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for number in self.order:
            x = self.layers[number](x)
        return self.head(x.mean(dim=(2, 3)))


class Attention(nn.Module):
    """Over the pixels of ``[batch, channels, height, width]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        found: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return found.transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("seed", range(12))
def test_one_hot_choices_cost_what_their_network_does(seed: int) -> None:
    module = Random(seed)
    space = ModuleSpace(module)
    kept = _kept(module, seed)
    network: Any = space.network(_genotype(module, seed), TASK)
    assert counted(module, "parameters").of(kept) == sum(weight.numel() for weight in network.parameters())
    assert counted(module).of(kept) == cost_of(space, _genotype(module, seed), TASK, "macs") == by_layers(network)


def by_layers(network: nn.Module) -> int:
    """Multiply-adds layer by layer, where each says what it computes."""
    found = 0

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal found
        if isinstance(module, nn.ConvTranspose2d):
            found += args[0].numel() * module.weight[0].numel()
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            found += output.numel() * module.weight[0].numel()
        elif isinstance(module, Attention):
            width, pixels = output.shape[1], output.shape[2] * output.shape[3]
            found += pixels * width * 4 * width + 2 * pixels * pixels * width

    for module in network.modules():
        module.register_forward_hook(note)
    with torch.no_grad():
        network.eval()(torch.zeros(1, *_shape(TASK)))
    return found


def _shape(task: ImageShape) -> tuple[int, int, int]:
    return task.channels, *task.size


class Tokens(nn.Module):
    """Images as tokens, ``[batch, height, channels · width]``, through a layer; the mean of what comes out."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        found = self.layer(images.transpose(1, 2).flatten(2))
        return (found[0] if isinstance(found, tuple) else found).mean(dim=1)


class Function(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _self_attention(x: Tensor) -> Tensor:
    query = x[:, None]
    return F.scaled_dot_product_attention(query, query[:, :, :4], query[:, :, :4, :7])[:, 0]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # 6 tokens of width 15.
        (nn.MultiheadAttention(15, 3, batch_first=True), None),
        (Function(_self_attention), 6 * 4 * (15 + 7)),
        (nn.TransformerEncoderLayer(15, 3, 8, batch_first=True), 6 * 4 * 15 * 15 + 2 * 36 * 15 + 2 * 6 * 15 * 8),
        (nn.LSTM(15, 7, batch_first=True), 6 * 4 * 7 * (15 + 7)),
        (nn.LSTM(15, 7, 2, batch_first=True, bidirectional=True), 6 * 8 * 7 * (15 + 7 + 14 + 7)),
        (nn.GRU(15, 7, batch_first=True), 6 * 3 * 7 * (15 + 7)),
        (Function(lambda x: x @ torch.ones(15)[:, None]), 6 * 15),
        (Function(lambda x: torch.mv(x[0], torch.ones(15))[None, :, None]), 6 * 15),
        (Function(lambda x: torch.bmm(x, x.mT)), 36 * 15),
        (Function(lambda x: torch.addbmm(x[0, :, :6], x, x.mT)[None]), 36 * 15),
        (Function(lambda x: torch.baddbmm(x[:, :, :6], x, x.mT)), 36 * 15),
        (Function(torch.tanh), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_torch_computes_in_one_piece_is_counted(layer: nn.Module, expected: int | None) -> None:
    network = Tokens(layer) if expected is not None else Tokens(Function(lambda x: layer(x, x, x)))
    if expected is None:
        expected = 6 * 4 * 15 * 15 + 2 * 36 * 15
        network.add_module("layer_of_weights", layer)
    assert total(network, TASK, "macs") == expected


def test_a_module_of_another_precision() -> None:
    module = Own(dtype=torch.float64)
    assert counted(module).fixed == counted(Own()).fixed
    genotype = _genotype(module, 0)
    assert cost_of(ModuleSpace(module), genotype, TASK, "macs") == counted(module).of(_kept(module, 0))


def test_a_module_without_any_weight() -> None:
    module = nn.Sequential(Choice({"mean": nn.AdaptiveAvgPool2d(2), "max": nn.AdaptiveMaxPool2d(2)}), nn.Flatten())
    space = ModuleSpace(module)
    for metric in ("macs", "parameters"):
        assert counted(module, metric).range() == (0, 0)
        assert cost_of(space, _genotype(module, 0), TASK, metric) == 0


def test_a_module_that_is_a_choice() -> None:
    module = Choice({"a": nn.Conv2d(3, 4, (6, 5)), "b": nn.Conv2d(3, 4, 1)})
    assert costs_of(counted(module), "choice") == [3 * 4 * 30, 3 * 4 * 30]
    assert costs_of(counted(module, "parameters"), "choice") == [3 * 4 * 30 + 4, 16]


def test_a_candidate_in_torch_script() -> None:
    scripted = torch.jit.script(nn.Linear(90, 90))
    module = nn.Sequential(nn.Flatten(), Choice({"script": scripted, "not": nn.Identity()}), nn.Linear(90, 4))
    assert costs_of(counted(module), "1") == [8100, 0]
    assert costs_of(counted(module, "parameters"), "1") == [8190, 0]
    assert set(measure(ModuleSpace(module), TASK, device=CPU, rounds=1).candidates["1"]["choice"]) == {"script", "not"}


def test_a_choice_in_two_places_is_one() -> None:
    choice = Choice({"linear": nn.Linear(90, 90, bias=False), "not": nn.Identity()})
    module = nn.Sequential(nn.Flatten(), choice, nn.ReLU(), choice)
    assert costs_of(counted(module), "1") == [2 * 90 * 90, 0]
    assert costs_of(counted(module, "parameters"), "1") == [90 * 90, 0]


def test_shared_weights() -> None:
    linear = nn.Linear(90, 90, bias=False)

    def module(*groups: str | None) -> nn.Module:
        choices = [Choice({"own": Twice(90), "shared": linear}, group) for group in groups]
        return nn.Sequential(nn.Flatten(), *choices)

    assert costs_of(counted(module("g", "g"), "parameters"), "g") == [2 * 8100, 8100], "both layers keep it, or none"
    apart = module(None, None)
    assert [costs_of(counted(apart), name) for name in ("1", "2")] == [[2 * 8100, 8100]] * 2
    with pytest.raises(Refused, match=r"'2.candidates.shared' shares weights with '1.candidates.shared', so "):
        counted(apart, "parameters")
    tied = nn.Sequential(nn.Flatten(), linear, Choice({"shared": linear, "other": nn.Linear(90, 90)}))
    assert counted(tied).fixed == 8100
    with pytest.raises(Refused, match=r"'2.candidates.shared' shares weights with '1', so parameters are no sum"):
        counted(tied, "parameters")
    outside = nn.Sequential(nn.Flatten(), Twice(90), Choice([nn.ReLU(), nn.Tanh()]))
    assert counted(outside, "parameters").fixed == 8100
    assert total(outside, TASK, "parameters") == 8100


def test_a_layer_called_auxiliary_is_one_like_any_other() -> None:
    module = nn.Sequential()
    module.add_module("auxiliary", nn.Conv2d(3, 4, 1))
    module.add_module("choice", Choice([nn.ReLU(), nn.Tanh()]))
    for metric, cost in (("macs", 3 * 4 * 30), ("parameters", 16)):
        assert cost_of(ModuleSpace(module), _genotype(module, 0), TASK, metric) == cost
        assert counted(module, metric).fixed == cost


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1 and not self.training:
            raise RuntimeError("one is\nnot enough")
        return x


def test_a_module_that_takes_no_single_image_is_refused() -> None:
    module = nn.Sequential(Fails(), Choice([nn.ReLU(), nn.Tanh()]))
    message = (
        r"^costs are those of one image, here of 3×6×5, but Sequential fails on it in evaluation mode: "
        r"RuntimeError: one is not enough$"
    )
    with pytest.raises(Uncounted, match=message):
        counted(module)
    with pytest.raises(Uncounted, match=message):
        measure(ModuleSpace(module), TASK, device=CPU, rounds=1)
    assert counted(module, "parameters").range() == (0, 0)


def test_a_module_has_its_own_size() -> None:
    for size in ({"channels": 4}, {"cells": 4}):
        with pytest.raises(Refused, match="a module of your own has its own size"):
            count(ModuleSpace(Own()), TASK, "macs", **size)


@pytest.mark.parametrize("module", [Own(), Own(dtype=torch.float64), Random(3)], ids=["own", "double", "random"])
def test_every_candidate_is_measured_on_what_its_choice_gets(
    module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With multiply-adds for seconds, a measured table says what a counted one says."""

    def seconds(calls: Any, device: Any, rounds: int) -> list[float]:
        found = []
        for call in calls:
            (x, *more) = call.args
            assert not more
            assert not call.func.training
            assert torch.isfinite(call()).all()
            network = Given(call.func, x, call.keywords)
            found.append(1e-9 + 1e-3 * total(network, ImageShape(1, (1, 1), 1), "macs"))
        return found

    monkeypatch.setattr("poise.costs.timing.medians", seconds)
    space = ModuleSpace(module)
    costs = measure(space, TASK, device=CPU, rounds=1).costs(space, TASK, None, None)
    expected = counted(module)
    assert costs.fixed == pytest.approx(1e-3 * expected.fixed, rel=1e-5)
    for group in space.groups:
        found = costs.candidates[group.name] * 1e3
        assert found.allclose(expected.candidates[group.name], rtol=1e-4, atol=1e-2)


class Given(nn.Module):
    """Ignores the image for what it was given."""

    def __init__(self, module: nn.Module, x: Tensor, keywords: dict[str, Any]) -> None:
        super().__init__()
        self.module, self.x, self.keywords = module, x, keywords

    def forward(self, _: Tensor) -> Tensor:
        return self.module(self.x, **self.keywords)


def test_a_table_is_of_one_module() -> None:
    module = Own()
    space = ModuleSpace(module)
    table = measure(space, TASK, device=CPU, rounds=1)
    low, high = table.costs(space, TASK, None, None).range()
    assert 0 < low <= high < 60
    assert {len(check.choices) for check in table.checks} == {3}
    with torch.no_grad():
        module.stem.weight.add_(1.0)
    again = parse_table(json.loads(table.to_json()), "it")
    assert again == table
    assert again.costs(ModuleSpace(module), TASK, None, None).range() == (low, high), "weights do not matter"
    with pytest.raises(Refused, match=r"about custom \(structure \w{12}\) on 3×6×5, 4 classes; the network will be "):
        table.costs(ModuleSpace(Own((4, 8))), TASK, None, None)


def test_structures() -> None:
    def choices(group: str | None = None, stride: int = 1) -> nn.Module:
        convolutions = {name: nn.Conv2d(3, 4, 3, stride=stride) for name in ("a", "b")}
        return nn.Sequential(Choice(convolutions, group), Function(F.relu))

    def structure(module: nn.Module) -> str:
        return Form.of(ModuleSpace(module), TASK, None, None).structure or ""

    assert structure(choices()) == structure(choices())
    different = [choices(), choices(stride=2), choices("g"), nn.Sequential(*choices(), nn.ReLU()), Own(), Own((6, 4))]
    assert len({structure(module) for module in different}) == len(different)


class Tabular(nn.Module):
    """Tokens and numbers, by name; a token is embedded, which costs no multiply-adds."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.mix = Choice(
            {"narrow": nn.Linear(5 + 3, 4), "wide": nn.Sequential(nn.Linear(5 + 3, 16), nn.Linear(16, 4))}
        )
        self.head = nn.Linear(4, 2)

    def forward(self, *, token: Tensor, numbers: Tensor) -> Tensor:
        return self.head(self.mix(torch.cat((self.embedding(token), numbers), 1)))  # type: ignore[no-any-return]


def test_a_module_on_samples_is_counted_and_measured_on_one_of_them() -> None:
    shape = SampleShape({"token": Input((), "int64"), "numbers": Input((3,), "float32")}, 2)
    space = ModuleSpace(Tabular())
    costs = count(space, shape, "macs")
    assert costs.fixed == 4 * 2
    assert costs.candidates["mix"].tolist() == [[8 * 4, 8 * 16 + 16 * 4]]
    assert count(space, shape, "parameters").fixed == 7 * 5 + 4 * 2 + 2
    table = measure(space, shape, device=CPU, rounds=1)
    again = parse_table(json.loads(table.to_json()), "it")
    assert again == table
    assert again.costs(space, shape, None, None).range()[0] > 0
    other = SampleShape({"token": Input((), "int64"), "numbers": Input((4,), "float32")}, 2)
    with pytest.raises(Refused, match=r"on token: \[\] int64, numbers: \[3\] float32, 2 outputs; the network will be"):
        again.costs(space, other, None, None)
    with pytest.raises(
        Uncounted, match=r"^costs are those of one sample, here of token: \[\] int64, numbers: \[4\] fl"
    ):
        count(space, other, "macs")
