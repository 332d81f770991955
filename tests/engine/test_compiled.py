"""A discrete network with drop-path and an auxiliary head is one graph to the compiler, with the same numbers; what is
not is trained uncompiled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from engine_support import DOUBLE, batches
from test_captured import differing
from test_captured_training import DROPPING, SIZES, network, settings, trained
from torch import Tensor, nn

from poise.engine.captured import Captured
from poise.engine.compiled import Compiled
from poise.engine.train import NetworkDescent, NetworkTrainer


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """What other tests compiled is forgotten."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def trainer(net: nn.Module, drop: float, told: list[Any], compile: Any = "on") -> NetworkTrainer:
    form = settings(drop, auxiliary=0.4 if drop else 0.0, compile=compile)
    return NetworkTrainer(NetworkDescent(net, form, DOUBLE, 0), batches(8, 4, 1, DOUBLE), None, told.append)


@pytest.mark.parametrize("name", [name for name in SIZES if name != "s4"])
def test_every_network_is_one_graph(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all epochs, too: it is compiled once. The backend runs the graph as it is; one goes through autograd, too."""
    graphs, told = list[Any](), list[Any]()
    inner = "aot_eager" if name == "nasbench201" else "eager"

    def backend(graph: Any, inputs: Any) -> Callable[..., Any]:
        graphs.append(graph)
        found: Callable[..., Any] = torch._dynamo.lookup_backend(inner)(graph, inputs)
        return found

    monkeypatch.setattr("poise.engine.train.Compiled", partial(Compiled, backend=backend))
    net, drop = network(name), 0.6 if name in DROPPING else 0.0
    names = list(net.state_dict())
    plain = trained(trainer(copy.deepcopy(net), drop, told, "off"))
    compiled = trained(trainer(net, drop, told))
    assert not told
    assert len(graphs) == 1
    assert list(net.state_dict()) == names
    assert differing(plain, compiled) == []


class Reads(nn.Module):
    """Not one graph: what it computes depends on a number that is read back."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.classifier = nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        images = self.norm(images)
        found: Tensor = self.classifier(images.mean((2, 3)))
        return found if float(images.detach().sum()) > 1e9 else 2 * found


def missing(graph: Any, inputs: Any) -> Any:
    raise RuntimeError("there is no C++ compiler\nmore of it")


@pytest.mark.parametrize(
    ("build", "backend", "reason"),
    [
        (Reads, "eager", ""),
        (partial(network, "s4"), "eager", ""),  # noise
        (partial(network, "nasbench201"), missing, "there is no C++ compiler"),
    ],
    ids=["reads", "noise", "no compiler"],
)
def test_what_cannot_be_compiled_is_trained_uncompiled_and_it_is_said_once(
    build: Callable[[], nn.Module], backend: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running statistics, too, are as if nothing had been tried."""
    monkeypatch.setattr("poise.engine.train.Compiled", partial(Compiled, backend=backend))
    torch.manual_seed(0)
    net, told = build(), list[Any]()
    drop = 0.6 if hasattr(net, "heads") else 0.0
    plain = trained(trainer(copy.deepcopy(net), drop, told, "off"))
    assert not told
    assert differing(plain, trained(trainer(net, drop, told))) == []
    assert len(told) == 1
    assert told[0].message.startswith("the network is not compiled: ")
    assert reason in told[0].message
    assert "\n" not in told[0].message


def test_compiled_steps_are_captured_unwatched() -> None:
    """A watch would keep them from being compiled; what is captured is their third call."""

    class Plain:
        """Calls again instead of replaying."""

        def __init__(self) -> None:
            self.captures = 0

        def aside(self, function: Callable[[], Any]) -> Any:
            return function()

        def capture(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
            self.captures += 1
            total = torch.zeros(())
            return lambda: total.copy_(function()), total  # type: ignore[return-value]

    told, backend = list[Any](), Plain()
    captured = Captured(backend, told.append, watch=False)
    for _ in range(4):
        assert float(captured(lambda inputs: inputs.sum() * inputs.sum().item(), torch.ones(2))) == 4.0
    assert not told
    assert backend.captures == 1
